from pathlib import Path

from tests.training.conftest import VIT_CLIP
from tools.bench import clip_loops


def test_clip_is_measured_beside_open_clips_own_loop(captioned):
    """The contest that a visit to a GPU makes, tried at a small size; who is faster is not asked."""
    chosen = clip_loops.recipe(Path(captioned.path), VIT_CLIP, 16, 8, 30, "fp32", compiled=False)
    rates = clip_loops.rates(chosen)
    assert rates.keys() == {"fastpt", "open_clip"}
    assert all(rate > 0 for rate in rates.values())
