"""The way in: README.md's lines as they stand there, and what each function gives."""

import inspect
import json
import os
import pathlib
import re
import subprocess
import sys

import chex
import jax
import numpy as np
import pytest

import tokmerge_jax
from tokmerge_jax import api
from tokmerge_jax.configs import demo as demo_config
from tokmerge_jax.data.datasets import demo
from tokmerge_jax.data.datasets.demo import scene
from tokmerge_jax.errors import check_list
from tokmerge_jax.systems.validation import unchecked
from tokmerge_jax.types import UserError

ROOT = pathlib.Path(__file__).parents[1]
STORIES = [demo.stories("test")[number] for number in range(3)]


def draw(folder, names):
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        demo.write_clip(folder / name, scene.draw(STORIES[number], (2, number)))


@pytest.fixture(scope="module")
def model():
    return tokmerge_jax.load("demo")


@pytest.mark.slow
def test_the_lines_of_the_readme(tmp_path, monkeypatch):
    """The block runs as it stands, and finds each clip by its caption."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text()
    (block,) = re.findall(r"<!-- library -->\n```python\n(.*?)```", text, re.DOTALL)
    scope = {}
    exec(block, scope)
    chex.assert_shape(scope["similarity"], (2, 2))
    assert scope["similarity"].argmax(axis=1).tolist() == [0, 1]


@pytest.mark.slow
def test_features_are_the_system_s_whatever_the_devices(model, tmp_path):
    """Three videos on eight devices: as each alone by the system's own functions."""
    names = ["a.mp4", "b.mp4", "c.mp4"]
    draw(tmp_path, names)
    frames = model.read([tmp_path / name for name in names])
    chex.assert_shape(frames, (3, 8, 96, 96, 3))
    assert frames.dtype == np.uint8
    retrieval = unchecked(model.system).retrieval
    assert retrieval is not None
    video = model.encode_video(frames)
    encode = jax.jit(retrieval.encode_video)
    for row in range(3):
        alone = encode(model.params, frames[row : row + 1])
        chex.assert_trees_all_close(
            {name: x[row] for name, x in video.items()},
            jax.tree.map(lambda x: np.asarray(x[0]), dict(alone)),
            atol=1e-5,
        )
    captions = [scene.caption(story) for story in STORIES]
    words = model.encode_text(captions)
    similarity = model.similarity(video, words)
    np.testing.assert_allclose(
        similarity, np.einsum("bfe,qe->bq", video["embedding"], words["embedding"]), atol=1e-6
    )
    assert similarity.argmax(axis=1).tolist() == [0, 1, 2]


def test_clips_are_drawn_with_the_captions_that_describe_them(model, tmp_path):
    captions = tokmerge_jax.draw_clips(tmp_path / "clips", 3)
    assert list(captions.values()) == [scene.caption(story) for story in STORIES]
    first = pathlib.Path(next(iter(captions)))
    first.write_bytes(b"kept")
    assert tokmerge_jax.draw_clips(tmp_path / "clips", 1) == dict([next(iter(captions.items()))])
    assert first.read_bytes() == b"kept"
    similarity = model.similarity(
        model.encode_video(model.read(list(captions)[1:])),
        model.encode_text(list(captions.values())[1:]),
    )
    assert similarity.argmax(axis=1).tolist() == [0, 1]
    for count in (0, 201):
        with pytest.raises(UserError, match=f"count={count} must be from 1 to 200"):
            tokmerge_jax.draw_clips(tmp_path, count)


def test_merges_are_those_of_each_video(model, tmp_path):
    frames = model.read(list(tokmerge_jax.draw_clips(tmp_path, 2)))
    both = model.merges(frames)
    assert [[merge.tokens for merge in merges] for merges in both] == [[188, 128]] * 2
    (second,) = model.merges(frames[1:])
    for merge, alone in zip(both[1], second, strict=True):
        np.testing.assert_array_equal(merge.groups, alone.groups)
        np.testing.assert_array_equal(merge.saliency == 0, alone.saliency == 0)
    assert not np.array_equal(both[0][0].groups, both[1][0].groups)
    with pytest.raises(UserError, match="merges no tokens, so there is nothing to draw"):
        tokmerge_jax.load("demo", {"model.merger.name": "none"}).merges(frames)


def test_settings_and_weights_are_those_asked_for(tmp_path):
    with pytest.raises(UserError, match=r"no key 'model.merger.x'; did you mean model\.merger\.r"):
        tokmerge_jax.load("demo", {"model.merger.x": 3})
    with pytest.raises(UserError, match=r"nowhere\.pth does not exist"):
        tokmerge_jax.load("demo", checkpoint=tmp_path / "nowhere.pth")
    with pytest.raises(UserError, match="no_such_config"):
        tokmerge_jax.load("no_such_config")
    config = demo_config.get_config().override({"model.merger.r": (7, 0, 0, 0)})
    assert tokmerge_jax.load(config).system.merging.schedule.r == (7, 0, 0, 0)


def test_what_a_system_cannot_do_is_said(model):
    with pytest.raises(UserError, match="'vid_tldr' does not support action recognition"):
        model.classify(np.zeros((1, 8, 96, 96, 3), np.uint8))
    with pytest.raises(UserError, match=r"encode_video reads uint8 frames"):
        model.encode_video(np.zeros((1, 8, 64, 64, 3), np.uint8))
    questions = tokmerge_jax.load("demo_qa")
    with pytest.raises(UserError, match=r"'vid_tldr_qa' does not support text-video .* msrvtt_b16"):
        questions.encode_text(["what moves"])


@pytest.mark.parametrize("nothing", ["a red square", []])
def test_a_list_is_asked_for(model, nothing):
    for function, what in ((model.read, "videos"), (model.encode_text, "texts")):
        with pytest.raises(UserError, match=f"is not a list of {what}"):
            function(nothing)
    with pytest.raises(UserError, match="the model was given no video"):
        model.encode_video(np.zeros((0, 8, 96, 96, 3), np.uint8))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((3,), "3 is not a configuration; give one, its name or its file"),
        (("demo", 3), "settings=3 is not a mapping; give {'KEY': VALUE}"),
    ],
)
def test_what_is_no_configuration_is_refused(given, says):
    with pytest.raises(UserError, match=re.escape(says)):
        unhooked(api.configuration)(*given)


@pytest.mark.parametrize("name", ["checkpoint", "data", "output"])
def test_what_is_no_path_is_refused_by_its_parameter(name):
    with pytest.raises(UserError, match=f"^{name}=3 is not a path; give a string or a path"):
        unhooked(api.configuration)("demo", **{name: 3})


def test_features_that_cannot_be_compared_are_refused(model):
    similarity = unhooked(type(model).similarity)
    video, words = ({"embedding": np.zeros(shape)} for shape in ((2, 1, 4), (3, 4)))
    assert similarity(model, video, words).shape == (2, 3)
    wrong = [(words, video), (words, words), (video, np.zeros((3, 4))), (video, {}), (3, words)]
    for pair in (*wrong, (video, {"embedding": np.zeros((3, 5))})):
        with pytest.raises(UserError, match="those given have the shapes"):
            similarity(model, *pair)


def test_texts_and_frames_that_say_nothing_are_refused(model):
    with pytest.raises(UserError, match="'' holds no word"):
        model.encode_text(["a red square", ""])
    with pytest.raises(UserError, match="3 in the list of texts is of type int"):
        check_list(["a red square", 3], "texts", str)
    with pytest.raises(UserError, match="3 in the list of videos is of type int"):
        unhooked(type(model).read)(model, [3])
    for nothing in (3, "a.mp4"):
        with pytest.raises(UserError, match="the model was given no video"):
            unhooked(type(model)._run)(model, model.classify, nothing)


def unhooked(function):
    """The function as users call it, whose arguments nothing but itself checks."""
    return inspect.unwrap(function)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"dataset": "mrsvtt"}, "dataset='mrsvtt' is unknown; known: msrvtt, "),
        ({"dataset": "msrvtt"}, "the data set msrvtt needs annotations and videos"),
        ({"dataset": "msrvtt", "videos": "x"}, "the data set msrvtt needs annotations"),
        ({"dataset": "demo", "videos": "x"}, "the videos of demo are drawn; leave out"),
        ({"dataset": "demo_long", "splits": ["dev"]}, "demo_long has the splits train, val, test"),
        ({"dataset": "demo", "workers": -1}, "workers=-1 must be at least 1"),
        ({"dataset": "demo", "splits": "test"}, "'test' is not a list of splits"),
    ],
)
def test_a_data_set_that_cannot_be_prepared_is_refused(arguments, says, tmp_path):
    with pytest.raises(UserError, match=says):
        tokmerge_jax.prepare(data=tmp_path / "data", **arguments)
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_actions(tmp_path):
    draw(tmp_path, ["a.mp4"])
    model = tokmerge_jax.load("demo_tdsclip")
    probabilities = model.classify(model.read([tmp_path / "a.mp4"]))
    chex.assert_shape(probabilities, (1, 10))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_names():
    assert {"demo", "msrvtt_b16", "testa_pretrain"} <= {*tokmerge_jax.list_configs()}
    assert tokmerge_jax.list_configs("demo_t*") == ["demo_tdsclip", "demo_tempme", "demo_testa"]
    with pytest.raises(UserError, match="pattern=3 is not a string; give one such as 'msrvtt"):
        unhooked(api.list_configs)(3)
    assert {"vid_tldr", "tempme", "testa", "tds_clip"} <= {*tokmerge_jax.list_systems()}
    rooms = {path.parent.name for path in (ROOT / "tokmerge_jax").glob("*/__init__.py")}
    assert rooms < {*dir(tokmerge_jax)}
    for name in dir(tokmerge_jax):
        assert getattr(tokmerge_jax, name) is not None


def test_the_package_is_imported_quickly_and_alone():
    loaded = "import sys, tokmerge_jax; print('jax' in sys.modules, 'numpy' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=True
    )
    assert said.stdout == "False False\n"


@pytest.mark.slow
def test_index_search_evaluate_and_convert(tmp_path):
    """Whole jobs, as a user without a checkout calls them."""
    draw(tmp_path / "clips", ["a.mp4", "b.mp4", "c.mp4"])
    alone = {"data.workers": 0}
    index = tokmerge_jax.index("demo", tmp_path / "clips", tmp_path / "index", alone)
    assert [*index.videos] == ["a.mp4", "b.mp4", "c.mp4"]
    captions = [scene.caption(story) for story in STORIES]
    hits = tokmerge_jax.search(tmp_path / "index", captions, top_k=1)
    assert [hit.path for (hit,) in hits] == ["a.mp4", "b.mp4", "c.mp4"]

    demo.prepare(str(tmp_path / "data"), ["test"], workers=1)
    results = tokmerge_jax.evaluate(
        "demo", alone, data=tmp_path / "data", output=tmp_path / "results"
    )
    assert results["protocol"]["videos"] == 200
    assert 80 < results["headline"]["value"] < 87  # README.md: 83
    assert results == json.loads((tmp_path / "results/results.json").read_text())

    tokmerge_jax.convert("demo", results_of("demo"), tmp_path / "a.safetensors", reverse=True)
    tokmerge_jax.convert("demo", tmp_path / "a.safetensors", tmp_path / "weights")
    again = tokmerge_jax.load("demo", checkpoint=tmp_path / "weights")
    chex.assert_trees_all_equal(again.params, tokmerge_jax.load("demo").params)


def results_of(name):
    return tokmerge_jax.load(name).system.config.checkpoint


@pytest.mark.slow
def test_a_misspelt_name_fails_in_a_type_checker(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import tokmerge_jax\n"
        'model = tokmerge_jax.load("demo")\n'
        'model.encode_txt(["a red square"])\n'
        'tokmerge_jax.lod("demo")\n'
        "model.system.retrieval.encode_video\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},  # type checkers follow no editable install
        capture_output=True,
        text=True,
        check=False,
    )
    faults = [line for line in done.stdout.splitlines() if " - error: " in line]
    assert [int(line.split(":")[1]) for line in faults] == [3, 4, 5]  # 5: it may be None
    assert "encode_txt" in faults[0]
    assert "lod" in faults[1]
