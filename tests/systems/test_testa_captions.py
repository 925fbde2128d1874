"""Captions of TESTA's pretraining decoder, against its whole forward pass; the script."""

import json
import pathlib
import subprocess
import sys

import clips
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tokmerge_jax
from tokmerge_jax import checkpoints
from tokmerge_jax.config.parts import flat
from tokmerge_jax.configs import testa_pretrain as configuration
from tokmerge_jax.data.video.clips import decoder
from tokmerge_jax.systems.testa import pretraining
from tokmerge_jax.systems.towers.timesformer import TimeSformerTower
from tokmerge_jax.systems.validation import unchecked
from tokmerge_jax.types import UserError

ROOT = pathlib.Path(__file__).parents[2]
WORDS, FRAMES, EDGE = 60, 2, 32
START, END, LENGTH, SHORTEST = WORDS - 2, 2, 9, 4


def vocabulary(folder):
    """A vocabulary file without [DEC] and [ENC]."""
    first = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")
    words = [*first, *(f"word{i}" for i in range(len(first), WORDS - 2))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return str(folder / "vocab.txt")


def config(folder):
    vision = {"width": 32, "depth": 1, "heads": 2, "image_size": EDGE, "frames": FRAMES}
    text = {"width": 32, "depth": 2, "heads": 2, "mlp_width": 32, "vocab_size": WORDS}
    return configuration.get_config().override(
        {
            "dtype": "float32",
            "model": {"embed_dim": 16, "vision": vision, "text": {**text, "max_positions": 12}},
            "data": {"max_text_length": 8, "vocabulary": vocabulary(folder)},
            "caption": {"beams": 1, "max_length": LENGTH, "min_length": SHORTEST},
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("captions")


@pytest.fixture(scope="module")
def system(folder):
    return unchecked(tokmerge_jax.build(config(folder)))  # videos are noise, or files


@pytest.fixture(scope="module")
def params(system):
    """Drawn so that words differ from video to video, and some texts end."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        return rng.normal(path[-1].key == "scale", 0.3, leaf.shape).astype(np.float32)

    values = jax.tree_util.tree_map_with_path(draw, system.weights.shapes)
    values["decoder"]["word_head"]["bias"][END] += 4
    return values


@pytest.fixture(scope="module")
def videos():
    return np.random.default_rng(1).standard_normal((6, FRAMES, EDGE, EDGE, 3), np.float32)


@pytest.fixture(scope="module")
def after(system, params, videos):
    """`ids [B,L] -> log-probabilities [B,L,W]` of the words that come next, nothing cached."""
    decoder = system.network.text.clone(predicts_words=True)

    def run(model, ids, memory):
        causal = jnp.tril(jnp.ones((1, LENGTH, LENGTH), bool)).repeat(len(ids), axis=0)
        return model.words(model.fuse(model.encode_text(ids, causal), causal, memory))

    @jax.jit
    def forward(params, video, ids):
        tokens = system.retrieval.encode_video(params, video)["tokens"]
        memory = system.retrieval.matching.video_memory(params, tokens)
        own = {"params": pretraining.decoder_params(params)}
        return jax.nn.log_softmax(decoder.apply(own, ids, memory, method=run))

    return lambda ids: np.array(forward(params, videos, ids))


def greedy(after, count):
    """The likeliest word each time, the whole text read again for each."""
    ids, scores = np.zeros((count, LENGTH), np.int32), np.zeros(count)
    ids[:, 0], lengths = START, np.full(count, LENGTH)
    open_ = np.ones(count, bool)
    for length in range(1, LENGTH):
        logs = after(ids)[:, length - 1]
        if length < SHORTEST:
            logs[:, END] = -np.inf
        word = logs.argmax(axis=1)
        ids[:, length] = np.where(open_, word, 0)
        scores += np.where(open_, logs[np.arange(count), word], 0)
        lengths[open_ & (word == END)] = length  # the end does not count
        open_ &= word != END
    return ids, scores / lengths


@pytest.mark.slow
def test_captions_are_the_likeliest_words(system, params, videos, after):
    written = jax.jit(system.captioning.caption)(params, videos)
    ids, scores = greedy(after, len(videos))
    np.testing.assert_array_equal(written["ids"], ids)
    np.testing.assert_allclose(written["score"], scores, rtol=1e-4)
    ends = np.argmax(ids == END, axis=1)
    assert set(ends) - {0}  # some end,
    assert (ids[:, 0] == START).all()
    assert (ends[ends > 0] >= SHORTEST).all()  # none early
    said = [" ".join(f"word{i}" for i in row if 5 <= i < START) for row in ids]
    assert system.captioning.spell(ids) == said


def captions(system, **changes):
    """`caption` as other options of `config.caption` have it."""
    config = system.config.override({"caption": changes})
    config.check()
    decoder = system.network.text.clone(predicts_words=True)
    tokenize = system.captioning.tokenize
    return pretraining.captioner(
        config.caption, TimeSformerTower(config), system.network, decoder, tokenize
    )


@pytest.mark.slow
def test_a_searched_caption_has_its_likelihood(system, params, videos, after):
    """Checks that each beam reads its own video; tests of answers check the texts."""
    written = jax.jit(captions(system, beams=3))(params, videos)
    ids = np.array(written["ids"])
    logs = np.take_along_axis(after(ids)[:, :-1], ids[:, 1:, None], axis=-1)[..., 0]
    total = np.where(ids[:, 1:] != 0, logs, 0).sum(axis=1)
    length = (ids != 0).sum(axis=1) - (ids == END).any(axis=1)
    np.testing.assert_allclose(written["score"], total / length, rtol=1e-4)
    assert len({tuple(row) for row in ids}) > 1


@pytest.mark.slow
def test_drawn_words_are_of_the_nucleus(system, params, videos, after):
    caption = jax.jit(captions(system, top_p=0.6))
    keys = (jax.random.split(jax.random.key(seed), len(videos)) for seed in (3, 3, 4))
    drawn = (caption(params, videos, own) for own in keys)
    first, again, other = (np.array(written["ids"]) for written in drawn)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    chances = np.exp(after(first))
    chances[:, : SHORTEST - 1, END] = 0  # texts do not end there
    chances /= chances.sum(axis=-1, keepdims=True)
    of_word = np.take_along_axis(chances[:, :-1], first[:, 1:, None], axis=-1)
    likelier = np.where(chances[:, :-1] > of_word, chances[:, :-1], 0).sum(axis=-1)
    said = first[:, 1:] != 0
    assert (likelier[said] <= 0.6 + 1e-4).all()
    assert (likelier[said] > 0).any()  # not always the likeliest


def test_what_cannot_be_written(system, folder):
    with pytest.raises(UserError, match=r"config\.caption\.beams=0 must be 1 or more"):
        captions(system, beams=0)
    with pytest.raises(UserError, match=r"set config\.caption\.top_p=0 or"):
        captions(system, top_p=0.5, beams=2)
    long = config(folder).override({"caption.max_length": 13})
    with pytest.raises(UserError, match=r"caption\.max_length=13 must be at most config\.model"):
        tokmerge_jax.build(long)


def run(*arguments, launch=()):
    return subprocess.run(
        [sys.executable, *launch, "scripts/caption.py", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


PRETRAIN = "--config=configs/testa_pretrain.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["README.md"], "--config is missing"),
        (
            ["--config=configs/testa_didemo_f32.py", "README.md"],
            "'testa' does not support captioning; use",
        ),
        ([PRETRAIN], "no video is named"),
        (["--config=nowhere.py"], "the configuration nowhere.py cannot be loaded"),
        ([PRETRAIN, "README.md", "a.mp4"], "a.mp4: no such file; name a video"),
        ([PRETRAIN, "--config.caption.beams=0", "README.md"], "beams=0 must be 1 or more"),
        ([PRETRAIN, "--output=no/such/x.json", "README.md"], "--output=no/such/x.json: its folder"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, says):
    done = run(*arguments)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert says in line


@pytest.mark.slow
def test_the_script_captions_videos(folder, system, params):
    for seed in (0, 1, 2):
        clips.write(folder / f"{seed}.mp4", clips.draw(9 + seed, 48, 64, seed))
    (folder / "bad.mp4").write_bytes(b"no video")
    checkpoints.save_checkpoint(folder / "weights", params, system)
    own = config(folder)
    sizes = ("model", "caption", "dtype", "data")
    values = flat({name: value for name, value in own.to_dict().items() if name in sizes})
    options = [f"--config.{key}={value}" for key, value in values.items()]
    options += ["--config.eval.batch_size=2", "--config.mesh.data=2", "--config.data.workers=0"]
    options += [f"--config.checkpoint={folder / 'weights'}", f"--output={folder / 'found.json'}"]
    names = [folder / name for name in ("0.mp4", "bad.mp4", "1.mp4", "2.mp4")]
    done = run(PRETRAIN, *options, *names)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"{folder / 'bad.mp4'}: cannot be decoded" in done.stderr.splitlines()[-1]
    assert "3 captions are in" in done.stdout
    results = json.loads((folder / "found.json").read_text())
    assert results["search"] == {
        "beams": 1, "max_length": LENGTH, "min_length": SHORTEST, "top_p": 0.0
    }  # fmt: skip
    assert (results["config"], results["frames"]) == ("testa_pretrain", FRAMES)
    assert results["checkpoint"] == "weights"
    good = [names[0], *names[2:]]
    assert [row["video"] for row in results["captions"]] == [str(name) for name in good]
    seen = expected(system, params, good)
    assert [row["caption"] for row in results["captions"]] == seen
    assert all(word in done.stdout for word in seen[0].split())
    options += ["--config.caption.top_p=0.9", "--config.mesh.data=1"]
    alone = run(PRETRAIN, *options, *names)
    drawn = json.loads((folder / "found.json").read_text())["captions"]
    launch = ("scripts/launch.py", "--processes=2", "--devices=1")
    shared = run(PRETRAIN, *options, *names, launch=launch)
    assert shared.returncode == alone.returncode == 2
    assert shared.stdout.endswith(alone.stdout)  # after what JAX's connections print
    assert shared.stderr.count("bad.mp4: cannot be decoded") == 1
    for row, expected_row in zip(
        json.loads((folder / "found.json").read_text())["captions"], drawn, strict=True
    ):
        np.testing.assert_allclose(row.pop("score"), expected_row.pop("score"), rtol=1e-5)
        assert row == expected_row
    assert [row["caption"] for row in drawn] != seen


def expected(system, params, paths):
    """Captions of the files, decoded here."""
    data, frames = system.config.data, system.pixels.frames
    decode = decoder(data, frames, "")
    video = np.stack([system.pixels.transform(decode(str(path))) for path in paths])
    return system.captioning.spell(
        np.asarray(jax.jit(system.captioning.caption)(params, video)["ids"])
    )
