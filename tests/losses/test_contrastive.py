import open_clip.loss
import torch

from fastpt.losses.contrastive import contrastive, sigmoid_contrastive

IMAGES, TEXTS = torch.nn.functional.normalize(torch.arange(48.0).sin().view(2, 6, 4), dim=2)
SCALE, BIAS = torch.tensor([14.0]), torch.tensor([-10.0])


def test_the_loss_of_all_pairs_is_open_clips():
    assert torch.equal(
        contrastive(IMAGES, TEXTS, IMAGES, TEXTS, SCALE), open_clip.loss.ClipLoss()(IMAGES, TEXTS, SCALE)
    )


def test_the_losses_of_parts_have_that_of_all_as_their_mean():
    parts = [contrastive(IMAGES[i : i + 2], TEXTS[i : i + 2], IMAGES, TEXTS, SCALE, first=i) for i in (0, 2, 4)]
    torch.testing.assert_close(sum(parts) / 3, contrastive(IMAGES, TEXTS, IMAGES, TEXTS, SCALE))


def test_the_sigmoid_loss_of_all_pairs_is_open_clips():
    expected = open_clip.loss.SigLipLoss()(IMAGES, TEXTS, SCALE, BIAS)
    torch.testing.assert_close(sigmoid_contrastive(IMAGES, TEXTS, SCALE, BIAS), expected)


def test_the_sigmoid_losses_of_parts_have_that_of_all_as_their_mean():
    parts = [sigmoid_contrastive(IMAGES[i : i + 2], TEXTS, SCALE, BIAS, first=i) for i in (0, 2, 4)]
    torch.testing.assert_close(sum(parts) / 3, sigmoid_contrastive(IMAGES, TEXTS, SCALE, BIAS))


def test_the_sigmoid_loss_is_finite_however_large_the_logits():
    assert sigmoid_contrastive(IMAGES, -IMAGES, torch.tensor([1e4]), BIAS).isfinite()
