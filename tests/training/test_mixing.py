"""Mixup and cutmix against the original's numbers, and the law of their draws."""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokmerge_jax.training import losses, mixing

ORIGINAL = golden.load("tdsclip-mixup")
ARRAYS = ORIGINAL.arrays
SHARE, SMOOTHING = (ORIGINAL.config[name] for name in ("lam", "label_smoothing"))
CLASSES = ORIGINAL.config["num_classes"]
VIDEO = jnp.asarray(ARRAYS["inputs/x"].transpose(0, 2, 3, 4, 1))
LABELS = jnp.asarray(ARRAYS["inputs/labels"])
TARGETS = mixing.smooth_targets(LABELS, CLASSES, SMOOTHING)


def close(computed, expected):
    np.testing.assert_allclose(computed, expected, rtol=1e-6, atol=1e-6)


def test_targets_of_the_original():
    close(TARGETS, ARRAYS["off_y"])
    close(mixing.mixed(TARGETS, SHARE), ARRAYS["mix_y"])


def test_mixup_of_the_original():
    close(mixing.mixed(VIDEO, SHARE).transpose(0, 4, 1, 2, 3), ARRAYS["mix_x"])
    close(mixing.mixed(jnp.asarray(ARRAYS["inputs/five"]), SHARE), ARRAYS["five_aligned"])


@pytest.mark.parametrize("case", range(len(ARRAYS["boxes"])))
def test_cutmix_of_the_original(case):
    share, y, x = ARRAYS["boxes"][case]
    box = mixing.cut_box(float(share), int(y), int(x), *VIDEO.shape[2:4])
    assert list(map(int, box)) == ARRAYS[f"cut{case}_box"].tolist()
    left = mixing.left_share(box, *VIDEO.shape[2:4])
    close(left, ARRAYS[f"cut{case}_lam"])
    made = mixing.pasted(VIDEO, box).transpose(0, 4, 1, 2, 3)
    np.testing.assert_array_equal(made, ARRAYS[f"cut{case}_x"])
    close(mixing.mixed(TARGETS, left), ARRAYS[f"cut{case}_y"])


def test_boxes_that_the_original_drew():
    rng, cuts = np.random.RandomState(ORIGINAL.spec["seed"]), 0
    for share, is_cut, *box, left in ARRAYS["draws"]:
        assert rng.rand() < ORIGINAL.config["prob"]
        assert (rng.rand() < ORIGINAL.config["switch_prob"]) == bool(is_cut)
        alpha = ORIGINAL.config["cutmix_alpha" if is_cut else "mixup_alpha"]
        assert rng.beta(alpha, alpha) == pytest.approx(share)
        if is_cut:
            y, x = rng.randint(0, 224), rng.randint(0, 224)
            computed = mixing.cut_box(float(share), y, x, 224, 224)
            assert list(map(int, computed)) == box
            close(mixing.left_share(computed, 224, 224), left)
            cuts += 1
    assert 0 < cuts < len(ARRAYS["draws"])


def test_losses_of_the_original():
    logits = jnp.asarray(ARRAYS["inputs/logits"])
    loss = losses.cross_entropy
    mixed = mixing.mixed(TARGETS, SHARE)
    close(loss(logits, mixed), ARRAYS["loss_soft"])
    close(jax.grad(loss)(logits, mixed), ARRAYS["grad_soft"])
    close(loss(logits, TARGETS), ARRAYS["loss_smooth"])
    close(loss(logits, mixing.smooth_targets(LABELS, CLASSES, 0.0)), ARRAYS["loss_ce"])


def test_draws():
    """Clips of 0 and 1: what a mixed pixel is tells the method, its target the share."""
    video = jnp.zeros((2, 1, 8, 10, 3)).at[1].set(1)
    keys = jax.random.split(jax.random.key(0), 400)
    made, targets = jax.jit(jax.vmap(mixing.mix, (0, None, None)))(keys, video, jnp.eye(2))
    made, shares = np.asarray(made[:, 0]), np.asarray(targets[:, 0, 0])
    np.testing.assert_allclose(made.mean(axis=(1, 2, 3, 4)), 1 - shares, atol=1e-5)
    cut = np.isin(made, (0, 1)).all(axis=(1, 2, 3, 4))
    assert abs(cut.sum() - 200) < 50
    mixup = shares[~cut]  # Beta(0.8, 0.8): mean 1/2, variance 1 / (4 * 2.6)
    assert abs(mixup.mean() - 0.5) < 0.06
    assert abs(mixup.var() - 1 / 10.4) < 0.02
    np.testing.assert_allclose(targets.sum(axis=2), 1, atol=1e-6)
    assert len(np.unique(made[cut], axis=0)) > 50
