"""PE-Core's evaluation: embeddings of videos, reweighted scores and recalls, by the original's."""

import golden
import jax.numpy as jnp
import numpy as np
import pytest
from clip_case import close

from tokmerge_jax.evaluation.metrics import PROTOCOLS
from tokmerge_jax.evaluation.retrieval import dual_softmax
from tokmerge_jax.layers.functional import unit
from tokmerge_jax.models.clip import pooled

CASE = golden.load("pecore-eval")
FRAMES, TEXTS = (jnp.asarray(CASE.arrays[f"inputs/{n}_features"]) for n in ("frame", "text"))


def scores():
    return np.asarray(unit(TEXTS) @ pooled(FRAMES).T)


def test_videos_and_scores():
    close(pooled(FRAMES), CASE.arrays["video_embedding"], 2e-6)
    close(FRAMES.mean(axis=1), CASE.arrays["video_raw_mean"], 2e-6)
    close(scores(), CASE.arrays["scores"], 2e-6)


@pytest.mark.parametrize("scale", [1, 10])
def test_reweighted_scores_are_dual_softmax_scores_times_the_scale(scale):
    for ours, name in ((scores(), "t2v"), (scores().T, "v2t")):
        wanted = CASE.arrays[f"{name}_reweighted_{scale}"]
        computed = dual_softmax(np.ascontiguousarray(ours), float(scale))[:]
        close(scale * computed, wanted, 5e-6)


@pytest.mark.parametrize(("row", "scale"), [(0, 0), (1, 1), (2, 10)])
def test_recalls(row, scale):
    """Equal captions share their right videos."""
    captions, owner = CASE.spec["inputs"]["captions"], CASE.arrays["inputs/owner"]
    videos = {c: [int(v) for d, v in zip(captions, owner, strict=True) if c == d] for c in captions}
    relevant = [videos[c] for c in captions]
    both = scores(), np.ascontiguousarray(scores().T)
    if scale:
        both = tuple(dual_softmax(x, float(scale)) for x in both)
    result = PROTOCOLS["umt"].both_directions(*both, relevant)
    ours = [result[way][f"R@{k}"] for way in ("text_to_video", "video_to_text") for k in (1, 5, 10)]
    np.testing.assert_allclose(ours, 100 * CASE.arrays["recalls"][row], atol=0.005)
