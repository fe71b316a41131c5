import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fastpt import dynamics
from fastpt.errors import DamagedData, FastptError
from fastpt.losses.classification import margins

NAN = float("nan")
SHOWN, WRONG = np.array([0, 1, 2, 1]), np.array([False, True, False, False])


def columns(*samples: list[float]) -> np.ndarray:
    """float32 [epochs, N] of what each sample did."""
    return np.array(samples, np.float32).T


def test_aum_is_the_mean_margin_of_the_epochs_in_which_a_sample_was_seen():
    margin = columns([1.0, 2.0, 6.0], [-1.0, NAN, -4.0], [NAN, NAN, NAN])
    np.testing.assert_array_equal(dynamics.aum(margin), [3.0, -2.5, NAN])


def test_a_margin_is_the_label_s_logit_less_the_largest_other_one():
    import torch

    logits = torch.tensor([[1.0, 4.0, 2.0], [1.0, 4.0, 2.0], [3.0, 3.0, 0.0]])
    assert margins(logits, torch.tensor([1, 2, 0])).tolist() == [2.0, -2.0, 0.0]


def test_forgetting_is_right_and_then_wrong_where_it_was_seen_next():
    correct = columns(
        [0, 1, 1, 1, 1],  # learned, never forgotten
        [1, 0, 1, 0, 0],  # twice
        [1, NAN, 0, NAN, 1],  # once, over an epoch in which it was not seen
        [0, 0, 0, 0, 0],  # never learned
        [NAN, NAN, NAN, NAN, NAN],
        [NAN, NAN, NAN, NAN, 1],
    )
    np.testing.assert_array_equal(dynamics.forgetting_events(correct), [0, 2, 1, np.inf, NAN, 0])


def test_ranks_of_losses_go_from_0_to_1_and_equal_losses_share_one():
    loss = columns([1.0, 3.0], [5.0, NAN], [2.0, 2.0], [0.5, 0.5], [NAN, NAN])  # means 2, 5, 2, 0.5
    np.testing.assert_allclose(dynamics.small_loss_rank(loss), [0.5, 1.0, 0.5, 0.0, NAN])


def test_one_sample_that_was_seen_has_rank_0():
    np.testing.assert_array_equal(dynamics.small_loss_rank(columns([1.0], [NAN])), [0.0, NAN])


def test_auroc_is_scikit_learn_s_and_leaves_out_what_was_not_seen():
    draw = np.random.default_rng(0)
    scores, positive = draw.integers(0, 9, 200).astype(float), draw.random(200) < 0.3  # with many ties
    expected = roc_auc_score(positive, scores)
    assert dynamics.auroc(scores, positive) == pytest.approx(expected)
    assert dynamics.auroc(np.r_[scores, NAN], np.r_[positive, True]) == pytest.approx(expected)
    assert np.isnan(dynamics.auroc(scores, np.zeros(200, bool)))


def test_of_samples_that_were_never_right_the_forgetting_is_the_largest():
    assert dynamics.auroc(np.array([np.inf, np.inf, 0.0, 3.0]), np.array([True, True, False, False])) == 1.0


def begun(folder, epoch=0, samples_id="a", shown=SHOWN, wrong=WRONG):
    return dynamics.begin(folder, samples_id, shown, wrong, epoch)


def row(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_rows_are_read_as_they_were_written_by_numpy_too(tmp_path):
    begun(tmp_path)
    for epoch in range(12):  # the header's number of rows gets longer
        dynamics.append(tmp_path, epoch, {"loss": row(epoch, 1, 2, NAN)})
        found = dynamics.read(tmp_path)
        np.testing.assert_array_equal(found.measures["loss"], [row(e, 1, 2, NAN) for e in range(epoch + 1)])
        np.testing.assert_array_equal(np.load(tmp_path / "loss.npy", mmap_mode="r"), found.measures["loss"])
    assert (found.samples_id, found.wrong.tolist()) == ("a", WRONG.tolist())


def test_epochs_that_were_not_recorded_are_nan(tmp_path):
    begun(tmp_path)
    dynamics.append(tmp_path, 0, {"loss": row(1, 1, 1, 1)})
    dynamics.append(tmp_path, 2, {"loss": row(3, 3, 3, 3), "margin": row(4, 4, 4, 4)})
    found = dynamics.read(tmp_path).measures
    np.testing.assert_array_equal(found["loss"][:, 0], [1, NAN, 3])
    np.testing.assert_array_equal(found["margin"][:, 0], [NAN, NAN, 4])


def test_what_comes_after_where_a_training_goes_on_is_dropped(tmp_path):
    begun(tmp_path)
    for epoch in range(3):
        dynamics.append(tmp_path, epoch, {"loss": row(*[epoch] * 4)})
    assert not begun(tmp_path, epoch=1)
    assert np.load(tmp_path / "loss.npy").tolist() == [[0] * 4]
    dynamics.append(tmp_path, 1, {"loss": row(9, 9, 9, 9)})
    assert dynamics.read(tmp_path).measures["loss"].tolist() == [[0] * 4, [9] * 4]


@pytest.mark.parametrize("change", [{"samples_id": "b"}, {"shown": SHOWN[::-1].copy()}, {"wrong": ~WRONG}])
def test_rows_of_other_samples_targets_or_pictures_are_lost(tmp_path, change):
    begun(tmp_path)
    dynamics.append(tmp_path, 0, {"loss": row(1, 1, 1, 1)})
    assert begun(tmp_path, epoch=1, **change)
    dynamics.append(tmp_path, 1, {"loss": row(2, 2, 2, 2)})
    np.testing.assert_array_equal(dynamics.read(tmp_path).measures["loss"], [row(*[NAN] * 4), row(*[2] * 4)])


def test_what_a_kill_left_of_a_row_is_not_read(tmp_path):
    begun(tmp_path)
    dynamics.append(tmp_path, 0, {"loss": row(1, 1, 1, 1)})
    with (tmp_path / "loss.npy").open("ab") as file:
        file.write(b"1234567")
    assert dynamics.read(tmp_path).measures["loss"].tolist() == [[1] * 4]
    assert not begun(tmp_path, epoch=1)
    dynamics.append(tmp_path, 1, {"loss": row(2, 2, 2, 2)})
    assert np.load(tmp_path / "loss.npy").tolist() == [[1] * 4, [2] * 4]


@pytest.mark.parametrize("name", ["loss.npy", "wrong.npy", "manifest.json"])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_damage_is_told(tmp_path, name, how):
    begun(tmp_path)
    dynamics.append(tmp_path, 0, {"loss": row(1, 1, 1, 1)})
    content = (tmp_path / name).read_bytes()
    if how == "gone":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content[:-3] + (b"" if how == "cut" else bytes([content[-3] ^ 1]) + content[-2:]))
    with pytest.raises(FastptError if (name, how) == ("manifest.json", "gone") else DamagedData, match=name):
        dynamics.read(tmp_path)


def test_without_a_record_it_says_how_to_get_one(tmp_path):
    with pytest.raises(FastptError, match=r"nothing was recorded by sample.*record\.samples"):
        dynamics.read(tmp_path / "samples")
