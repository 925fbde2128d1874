"""UMT's action recognition against the original; with merging, against vid-TLDR's encoder."""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
import recognition_case
import umt_case
from parameters import slow
from umt_case import close

import tokmerge_jax
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.config import umt
from tokmerge_jax.configs import umt_k400_b16, umt_k400_l16
from tokmerge_jax.systems.validation import unchecked
from tokmerge_jax.systems.vid_tldr.recognition import RecognitionTower


def config_of(case):
    """Our configuration of a golden network, which merges nothing."""
    spec = case.config
    vision = umt.Vision(
        width=spec["width"],
        depth=spec["depth"],
        heads=spec["heads"],
        image_size=spec["img_size"],
        patch_size=spec["patch_size"],
        frames=spec["frames"],
        table_frames=8,
        grid=14,
    )
    changes = {"model.classes": spec["classes"], "data.scale": spec["img_size"]}
    changes["train.label_smoothing"] = spec.get("smoothing", 0.0)
    config = umt.Recognition(dtype="float32", model=umt.RecognitionModel(vision=vision))
    return config.override(changes)


def system_of(case):
    """The system of a golden case, whose pixels are normalised, its parameters and clips."""
    system = unchecked(tokmerge_jax.build(config_of(case)))
    shape = case.config["frames"], 3, *(case.config["img_size"],) * 2
    clips = range(case.config["videos"])
    clips = [recipe.video(shape, seed=case.spec["seed"] + 1 + 100 * i) for i in clips]
    video = np.stack(clips).transpose(0, 1, 3, 4, 2)
    return system, golden.parameters(system, case.weights()), video


@pytest.mark.parametrize(
    "name", slow(["umtrec-tiny", "umtrec-tiny-frames4", "umtrec-b16"], "umtrec-b16".__eq__)
)
def test_logits(name):
    case = golden.load(name)
    system, params, video = system_of(case)
    assert system.recognition
    logits = jax.jit(system.recognition.classify)(params, video)
    close(logits[:, 0], case.arrays["logits"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["umtrec-tiny", "umtrec-tiny-frames4", "umtrec-b16"])
def test_every_block_and_the_features(name):
    case = golden.load(name)
    system, params, video = system_of(case)
    run = jax.jit(
        lambda params, video: system.network.apply(
            {"params": params}, video, mutable=["intermediates"], capture_intermediates=True
        )[1]
    )
    seen = run(params, video)["intermediates"]
    tokens = np.asarray(seen["vision"]["__call__"][0].x)
    for i in range(case.config["depth"]):
        out = np.asarray(seen["vision"][f"block_{i}"]["__call__"][0].x)
        close(out.mean(axis=1), case.arrays[f"block{i}/mean"])
    close(tokens[:, case.arrays["rows"]], case.arrays["row_tokens"])
    close(seen["norm"]["__call__"][0], case.arrays["features"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["umtrec-tiny", "umtrec-tiny-frames4"])
def test_loss_and_gradients(name):
    case = golden.load(name)
    system, params, video = system_of(case)
    batch = {"video": video, "label": np.array(case.config["labels"], np.int32)}
    loss = recognition_case.loss_of(system)
    run = jax.jit(jax.value_and_grad(lambda p: loss(p, batch, jax.random.key(0))[0]))
    value, gradient = run(params)
    close(value, case.arrays["loss"])
    gradient = rules.unload(system.weights.names[0], gradient)
    norms = np.array([np.linalg.norm(gradient[name]) for name in case.spec["shapes"]])
    close(norms, case.arrays["grad_norms"])
    for key in (key for key in case.arrays if key.startswith("grad/")):
        close(gradient[key.removeprefix("grad/")], case.arrays[key])


@pytest.mark.slow
def test_merged_tokens_are_those_of_vid_tldr_s_encoder():
    """The last block's output there, then mean, norm and head as they are defined."""
    case = golden.load("vidtldr-trace")
    retrieval = umt_case.config_of(case)
    model = umt.RecognitionModel(
        vision=retrieval.model.vision, merger=retrieval.model.merger, classes=7
    )
    size = model.vision.image_size
    config = umt.Recognition(dtype="float32", model=model).override({"data.scale": size})
    system = unchecked(tokmerge_jax.build(config))
    head = {
        "fc_norm.weight": (64,),
        "fc_norm.bias": (64,),
        "head.weight": (7, 64),
        "head.bias": (7,),
    }
    head = {name: recipe.weight(name, shape) for name, shape in head.items()}
    blocks = {
        name.removeprefix("vision_encoder.encoder."): weight
        for name, weight in case.weights().items()
        if ".blocks." in name or ".patch_embed." in name
    }
    params = golden.parameters(system, {**blocks, **head})
    assert system.recognition
    logits = jax.jit(system.recognition.classify)(params, umt_case.videos(case, 2))
    merged = case.arrays["block3/out"]
    assert merged.shape == (2, 64 - 16 - 8 - 4, 64)
    pooled = recognition_case.normed(merged.mean(axis=1), *list(head.values())[:2])
    close(logits[:, 0], pooled @ head["head.weight"].T + head["head.bias"])


@pytest.mark.parametrize("published", [umt_k400_b16, umt_k400_l16])
@pytest.mark.parametrize(("frames", "size"), [(8, 384), (16, 224), (16, 384), (1, 224)])
def test_other_frames_and_pixels_have_the_original_s_positions(published, frames, size):
    """Those of the published configurations: the blocks read patches of 0 at these positions."""
    vision = {"width": 32, "depth": 1, "heads": 1, "frames": frames, "image_size": size}
    config = published.get_config().override(
        {"model.vision": vision, "data.scale": size, "dtype": "float32"}
    )
    network = RecognitionTower(config).network.clone(mergers=())
    case, name = golden.load("umtrec-positions"), f"{frames}x{size // 16}"
    params = {"patch_embedding": {"kernel": np.zeros((768, 32)), "bias": np.zeros(32)}}
    video = jnp.zeros((1, frames, size, size, 3))
    tokens = np.asarray(network.bind({"params": params})(video).x)[0]
    close(tokens[case.arrays[f"{name}/rows"]], case.arrays[f"{name}/values"], 2e-6)
