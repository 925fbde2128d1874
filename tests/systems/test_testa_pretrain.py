"""TESTA's pretraining: the original's losses, gradients and queues, its weights and its data."""

import json
import pathlib
import subprocess
import sys
from functools import partial

import clips
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
import testa_case
import vocabularies
from PIL import Image
from umt_case import close, most_likely

import tokmerge_jax
from tokmerge_jax import checkpoints
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.checkpoints.tables import bert
from tokmerge_jax.checkpoints.tables import testa as table
from tokmerge_jax.configs import testa_pretrain as configuration
from tokmerge_jax.data.datasets import video_text
from tokmerge_jax.data.datasets.video_text import Clip, Record
from tokmerge_jax.systems.testa import pretraining
from tokmerge_jax.training import momentum
from tokmerge_jax.training.objectives import testa
from tokmerge_jax.types import UserError

ROOT = pathlib.Path(__file__).parents[2]

CASE = golden.load("testa-pretrain-loss")
SIZES, EXPECTED = CASE.config, CASE.arrays


def config():
    train = {"decode_size": SIZES["image_size"], "batch_size": SIZES["batch"], "remat": False}
    return testa_case.sized(configuration.get_config(), CASE).override(
        {
            "model.embed_dim": SIZES["embed_dim"],
            "data.max_text_length": SIZES["max_words"],
            "train": {**train, "queue": SIZES["queue_size"]},
        }
    )


@pytest.fixture(scope="module")
def system():
    return tokmerge_jax.build(config())


@pytest.fixture(scope="module")
def params(system):
    return golden.parameters(system, CASE.weights())


def queue(name):
    shape = SIZES["embed_dim"], SIZES["queue_size"]
    columns = recipe.weight(name, shape, CASE.spec["seed"], CASE.spec["gain"])
    return jnp.asarray((columns / np.linalg.norm(columns, axis=0)).T)


def remembered(system):
    """The original's slow copies and queues."""
    weights = CASE.weights()
    slow = {name.replace("_m.", "."): w for name, w in weights.items() if "_m." in name}
    params = golden.parameters(system, {**weights, **slow})
    return system.training.init_loss_state(params, jax.random.key(0)).replace(
        videos=queue("image_queue"), texts=queue("text_queue"), place=jnp.array(SIZES["ptr"])
    )


def batch():
    edge = SIZES["image_size"]
    shape = (SIZES["batch"], 3, SIZES["num_frames"], edge, edge)
    clips = np.moveaxis(recipe.video(shape, CASE.spec["seed"]), 1, -1)
    ids, mask = EXPECTED["in/ids"].astype(np.int32), EXPECTED["in/mask"] > 0
    return {"video": clips, "text_ids": ids, "text_mask": mask}


@pytest.fixture(scope="module")
def computed(system, params):
    """Loss, parts, the memory after, the negatives that were chosen, and the gradient."""
    drawn = []

    def sampler(key, weights):
        drawn.append(most_likely(key, weights))
        return drawn[-1]

    settings = {"targets": testa.MomentumTargets(SIZES["alpha"], 2.0), "sampler": sampler}
    loss = partial(system.training.loss, **settings)
    memory = remembered(system)

    def run(params):
        drawn.clear()
        total, parts, after = loss(
            params, memory, batch(), jax.random.key(0), jnp.float32(2), train=False
        )
        return total, (parts, after, list(drawn))

    (total, rest), gradient = jax.jit(jax.value_and_grad(run, has_aux=True))(params)
    return total, *rest, gradient


@pytest.mark.slow
def test_losses_of_the_original(computed):
    total, parts, *_ = computed
    assert set(parts) == {"ita", "itm", "lm"}
    for name, value in parts.items():
        close(value, EXPECTED[f"loss_{name}"])
    close(total, sum(EXPECTED[f"loss_{name}"] for name in parts))


@pytest.mark.slow
def test_negatives_of_the_original(computed):
    for ours, name in zip(computed[3], ("video_for_text", "text_for_video"), strict=True):
        np.testing.assert_array_equal(ours, EXPECTED[f"negative_{name}"])


@pytest.mark.slow
def test_queues_of_the_original(computed):
    memory = computed[2]
    close(memory.videos.T, EXPECTED["image_queue_after"])
    close(memory.texts.T, EXPECTED["text_queue_after"])
    assert memory.place == EXPECTED["ptr_after"][0]
    assert (memory.ids == momentum.NO_ID).all()


@pytest.mark.slow
def test_gradients_of_the_original(system, computed):
    gradient = rules.unload(system.weights.names[0], computed[-1])
    names = [name.removeprefix("grad/") for name in EXPECTED if name.startswith("grad/")]
    assert len(names) > 120
    scale = max(float(EXPECTED[f"grad/{name}"]) for name in names)
    for name in names:
        theirs = float(EXPECTED[f"grad/{name}"])
        bound = 1e-4 * theirs + 1e-7 * scale
        np.testing.assert_allclose(
            np.linalg.norm(gradient[name]), theirs, rtol=0, atol=bound, err_msg=name
        )
    others = set(gradient) - set(names) - set(system.weights.names[0].tied)
    assert all(name.endswith(".key.bias") for name in others)


def tied():
    return dict(CASE.spec["tied (name -> the parameter it shares)"])


def without_slow():
    """The network's tensors under all their names, as PyTorch's files have them."""
    weights = {name: w for name, w in CASE.weights().items() if "_m." not in name}
    return {**weights, **{name: weights[first] for name, first in tied().items()}}


def equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_there_and_back(system, params):
    weights = without_slow()
    assert system.weights.names[0].tied == tied()
    equal(golden.parameters(system, weights), params)
    back = rules.unload(system.weights.names[0], params)
    assert back.keys() == weights.keys()
    assert all(back[name].tobytes() == w.tobytes() for name, w in weights.items())


def test_the_decoder_shares_all_but_attention_to_what_was_said(params):
    own = params["decoder"]["layer_1"]
    assert set(own) == {"attention", "attention_norm"}
    full = pretraining.decoder_params(params)
    read = rules.load(
        rules.RuleSet(
            bert.rules("text_decoder.bert", "text", SIZES["layers"], 0, token_types=False)
        ),
        {name: w for name, w in without_slow().items() if name.startswith("text_decoder.bert.")},
        {"text": jax.tree.map(np.asarray, params["text"])},
    )
    equal({name: full[name] for name in params["text"]}, read["text"])
    equal(full["word_head"], params["decoder"]["word_head"])


def test_what_should_be_shared_and_is_not_is_reported(system):
    weights = without_slow()
    name = "text_decoder.bert.encoder.layer.1.output.dense.bias"
    weights[name] = weights[name] + 1
    with pytest.raises(
        UserError, match=r"dense\.bias differs from text_encoder\.encoder\.layer\.1"
    ):
        golden.parameters(system, weights)


def test_a_network_of_images_starts_it(system, params):
    """BLIP's file, which has a decoder too: attention over time starts as that within frames."""
    weights = without_slow()
    images = {n: w for n, w in weights.items() if "temporal" not in n and "time_embed" not in n}
    computed = golden.parameters(system, images)
    equal([computed[n] for n in ("text", "decoder")], [params[n] for n in ("text", "decoder")])
    block = computed["vision"]["block_1"]
    equal(block["temporal_attention"], params["vision"]["block_1"]["attention"])
    assert not block["temporal_out"]["kernel"].any()
    assert not block["temporal_scaling"].any()


def test_what_it_learned_is_evaluated_and_goes_on(system, params):
    """Its own file fits retrieval; what it exports has all that question answering reads."""
    retrieval = tokmerge_jax.build(testa_case.config_of(golden.load("testa-retrieval")))
    own = rules.flatten(params)
    with pytest.warns(UserWarning, match="left out"):
        computed = rules.load(checkpoints.table(retrieval, own), own, retrieval.weights.shapes)
    equal(computed["text"], params["text"])
    equal(computed["match_head"], params["match_head"])
    sizes = table.Vision(SIZES["depth"], 4, SIZES["num_frames"], True)
    needed = {rule.source for rule in table.answering_rules(sizes, SIZES["layers"])[0].rules}
    assert needed <= rules.unload(system.weights.names[0], params).keys()


def test_weight_decay_is_the_originals(system, params):
    marks = jax.tree.map(
        lambda leaf, mark: np.full(np.shape(leaf), mark, np.float32),
        params,
        pretraining.decayed(params),
    )
    for name, marked in rules.unload(system.weights.names[0], marks).items():
        expected = not any(part in name for part in ("bias", "LayerNorm.weight"))
        assert np.unique(marked).tolist() == [expected], name


def test_negative_weights_by_hand():
    similarity = jnp.log(jnp.array([[1.0, 3.0], [9.0, 1.0]]))
    computed = testa.negative_weights(similarity)
    np.testing.assert_allclose(computed, [[0, 0.7501], [0.9001, 0]], rtol=1e-6)
    far = testa.negative_weights(jnp.array([[200.0, 0, 0]] * 3))
    np.testing.assert_allclose(far[0], [0, 1e-4, 1e-4])  # never all zero


def test_crops_that_no_video_has_are_reported():
    wrong = config().override({"train.decode_size": 48})
    with pytest.raises(UserError, match=r"decode_size=48 must be at least config\.model\.vision"):
        tokmerge_jax.build(wrong)


@vocabularies.real
@pytest.mark.slow
def test_the_script_pretrains_on_videos_and_pictures(tmp_path):
    """Two steps as a user runs them; a broken file gives way, and is told."""
    clips.write(tmp_path / "1.mp4", clips.draw(9, 48, 64))
    (tmp_path / "2.mp4").write_bytes(b"no video")
    for name in ("3.png", "4.png"):
        Image.fromarray(clips.draw(1, 41, 53)[0]).save(tmp_path / name)
    records = [
        Record((Clip(name, name),), (f"a caption of {name}",))
        for name in ("1.mp4", "2.mp4", "3.png", "4.png")
    ]
    video_text.write(str(tmp_path), "pretraining", {"train": records})
    options = {
        "model.vision": {"width": 32, "depth": 1, "heads": 2, "image_size": 32, "frames": 2},
        "model.text": {"width": 32, "depth": 1, "heads": 2, "mlp_width": 32},
        "data": {"folder": tmp_path, "workers": 0, "max_text_length": 8},
        "train": {"batch_size": 4, "decode_size": 40, "queue": 8, "epochs": 2, "remat": False},
        "mesh": {"data": 1},
    }
    flat = [f"--config.{at}.{k}={v}" for at, keys in options.items() for k, v in keys.items()]
    flat.append(f"--config.output={tmp_path / 'out'}")
    done = subprocess.run(
        [sys.executable, "scripts/train.py", "--config=configs/testa_pretrain.py", *flat],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "2.mp4: cannot be decoded" in done.stderr
    assert "another clip replaces it" in done.stderr
    lines = (tmp_path / "out/training/metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in lines]
    assert len(steps) == 2
    for step in steps:
        assert step["loss"] == pytest.approx(step["ita"] + step["itm"] + step["lm"], rel=1e-5)
    rates = [step["learning_rate"] for step in steps]
    assert rates == pytest.approx([1e-6, 0.95 * 5e-6])  # the first step of either epoch
