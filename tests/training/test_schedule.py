import pytest

from fastpt.training.config import Schedule
from fastpt.training.schedule import learning_rate, total_steps, warmup_steps


def rates(total, warmup, peak=1.0, lowest=0.1):
    return [learning_rate(step, total, warmup, peak, lowest) for step in range(total)]


def test_warm_up_is_linear_and_reaches_the_peak():
    assert rates(100, 4)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_the_cosine_falls_to_the_lowest_rate():
    found = rates(100, 10)
    assert found[10:] == sorted(found[10:], reverse=True)
    assert found[55] == pytest.approx(0.55)  # half-way between peak and lowest
    assert learning_rate(100, 100, 10, 1.0, 0.1) == pytest.approx(0.1)


def test_without_warm_up_it_starts_at_the_peak():
    assert rates(10, 0)[0] == 1.0


def test_warm_up_is_given_in_epochs_or_steps():
    assert warmup_steps(Schedule(epochs=10, warmup_epochs=0.5), 30) == 15
    assert warmup_steps(Schedule(epochs=10, warmup_steps=7), 30) == 7
    assert warmup_steps(Schedule(epochs=10), 30) == 0


def test_a_linear_schedule_falls_in_a_line():
    found = [learning_rate(step, 12, 2, 1.0, 0.0, "linear") for step in range(13)]
    assert found == pytest.approx([0.5, 1.0, *(1 - step / 10 for step in range(11))])


@pytest.mark.parametrize(("duration", "steps"), [({"epochs": 3}, 30), ({"steps": 7}, 7), ({"samples": 65}, 9)])
def test_the_duration_is_given_in_epochs_steps_or_samples(duration, steps):
    assert total_steps(Schedule(**duration), steps_per_epoch=10, batch_size=8) == steps
