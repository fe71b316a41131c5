"""Means over data sets, against scipy.stats and a published meta-analysis."""

import math

import numpy as np
import pytest
from scipy import stats

from fastpt.errors import FastptError
from fastpt.report.over_sets import over_sets, set_correlation, votes
from fastpt.report.statistics import Estimate

TRIALS = [  # BCG vaccine, 13 trials (Colditz et al. 1994): cases and others, with and without
    (4, 119, 11, 128),
    (6, 300, 29, 274),
    (3, 228, 11, 209),
    (62, 13536, 248, 12619),
    (33, 5036, 47, 5761),
    (180, 1361, 372, 1079),
    (8, 2537, 10, 619),
    (505, 87886, 499, 87892),
    (29, 7470, 45, 7232),
    (17, 1699, 65, 1600),
    (186, 50448, 141, 27197),
    (5, 2493, 3, 2338),
    (27, 16886, 29, 17825),
]


def test_random_effects_are_those_of_a_published_analysis():
    effects = [
        Estimate(
            math.log(a / (a + b) / (c / (c + d))),
            math.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)),
            math.inf,
        )
        for a, b, c, d in TRIALS
    ]
    found = over_sets(effects)
    assert found.mean.value == pytest.approx(-0.7141, abs=1e-4)  # by metafor's documentation, method DL
    assert found.between**2 == pytest.approx(0.3088, abs=1e-4)


def test_with_equal_errors_the_interval_over_sets_is_students():
    values = [0.1, 0.9, -0.4, 0.6]
    found = over_sets([Estimate(value, 0.05, 30) for value in values])
    interval = stats.ttest_1samp(values, 0).confidence_interval()
    assert found.mean.half() == pytest.approx((interval.high - interval.low) / 2)
    assert found.between**2 == pytest.approx(np.var(values, ddof=1) - 0.05**2)
    width = math.sqrt(found.between**2 + found.mean.se**2)
    assert found.prediction_half == pytest.approx(stats.t.ppf(0.975, 2) * width)


def test_two_sets_have_no_prediction_interval_and_one_is_refused():
    assert over_sets([Estimate(0.1, 0.1, 9), Estimate(0.3, 0.1, 9)]).prediction_half is None
    with pytest.raises(FastptError, match="two sets at least"):
        over_sets([Estimate(0.1, 0.1, 9)])
    with pytest.raises(FastptError, match="not enough runs"):
        over_sets([Estimate(0.1, 0.1, 9), Estimate(0.1, None, 0)])


def test_tests_that_share_pictures_have_one_vote():
    values = {"photo to art": 1.0, "art to photo": 3.0, "signs": 5.0}
    vote = {"photo to art": "pacs", "art to photo": "pacs", "signs": "signs"}
    assert votes(values, vote) == {"pacs": 2, "signs": 5}


@pytest.mark.parametrize(("se", "expected"), [(0.1, 1.0), (0.05, 0.0), (0.02, 0.0)])
def test_the_correlation_of_sets_is_that_of_the_error_of_their_mean(se, expected):
    assert set_correlation([Estimate(1.0, 0.1, 9)] * 4, Estimate(1.0, se, 9)) == pytest.approx(expected)


def test_an_error_that_all_sets_share_stays_in_their_mean():
    effects = [Estimate(value, 0.1, 20) for value in (0.2, 0.3, 0.4)]
    apart, alike = over_sets(effects), over_sets(effects, correlation=0.5)
    assert alike.mean.value == pytest.approx(apart.mean.value)
    assert alike.mean.se**2 == pytest.approx(apart.mean.se**2 + 0.5 * 0.1**2)
    assert alike.between > apart.between  # what differs between sets is not of the shared part
