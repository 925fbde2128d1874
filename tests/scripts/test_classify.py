"""scripts/classify.py as a user runs it: what videos show, names of actions, what is wrong."""

import json
import runpy

import clips
import jax
import numpy as np
import pytest
import script
from PIL import Image
from safetensors.numpy import save_file

import tokmerge_jax
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.command_line import own_videos
from tokmerge_jax.data.datasets import video_text
from tokmerge_jax.data.video.clips import decoder
from tokmerge_jax.types import UserError

NAMES = ("opening [something]", "closing something", "doing nothing")
SSV2 = "--config=configs/tdsclip_ssv2_b16.py"
SMALL = """
import tds_clip_case

def get_config():
    return tds_clip_case.config_of({sizes!r}, frames=2).override(dict(
        data=dict(
            dataset="ssv2", folder={folder!r}, scale=40, clips=2, crops=3, neighbours=3,
            workers=0, wrap=False),
        mesh=dict(data=1),
        checkpoint={folder!r} + "/weights.safetensors"))
"""
SIZES = {
    "vision.width": 64,
    "vision.depth": 1,
    "vision.heads": 1,
    "vision.patch_size": 16,
    "vision.image_size": 32,
    "side.width": 64,
    "side.differences": True,
    "classes": len(NAMES),
}


def run(*arguments):
    return script.run("classify", *arguments, COLUMNS="300")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A configuration, names of its actions, two videos, and frames of another: two batches."""
    own = tmp_path_factory.mktemp("own")
    (own / "small.py").write_text(SMALL.format(sizes=SIZES, folder=str(own)))
    rows = [f"{number},{name}" for number, name in enumerate(NAMES)]
    (own / "names.csv").write_text("\n".join(["id,name", *rows[::-1]]) + "\n")
    for seed in (0, 1):
        clips.write(own / f"{seed}.mp4", clips.draw(9 + seed, 48, 64, seed))
    (own / "bad.mp4").write_bytes(b"no video")
    (own / "frames").mkdir()
    for number, frame in enumerate(clips.draw(7, 40, 56, seed=2), 1):
        Image.fromarray(frame).save(own / "frames" / f"img_{number:03d}.png")
    return own


@pytest.fixture(scope="module")
def expected(folder):
    """Probabilities [3,3] of both videos and the frames, by weights that are written here."""
    config = runpy.run_path(str(folder / "small.py"))["get_config"]()
    system, rng = tokmerge_jax.build(config), np.random.default_rng(0)

    def draw(path, leaf):
        kind = path[-1].key
        values = rng.normal(kind in ("scale", "var"), 0.3, leaf.shape).astype(np.float32)
        if kind == "var":
            return np.abs(values) + 0.1
        return values / 64 if path[0].key == "head" else values  # no probability is 0 or 1

    params = jax.tree_util.tree_map_with_path(draw, system.weights.shapes)
    save_file(rules.flatten(params), folder / "weights.safetensors")
    decode = decoder(config.data, 2, "")
    paths = [folder / name for name in ("0.mp4", "frames/img_{:03d}.png", "1.mp4")]
    video = np.stack([system.pixels.transform(decode(str(path))) for path in paths])
    assert system.recognition
    logits = jax.jit(system.recognition.classify)(params, video)
    assert logits.shape == (3, 2 * 3, len(NAMES))
    return np.asarray(jax.nn.softmax(logits).mean(axis=1))


def told(row):
    """Probabilities in the order of the actions' numbers."""
    assert sorted(action["id"] for action in row["actions"]) == list(range(len(NAMES)))
    return [a["probability"] for a in sorted(row["actions"], key=lambda action: action["id"])]


@pytest.mark.slow
def test_videos_and_frames_are_told_as_in_evaluation(folder, expected):
    names = [folder / name for name in ("0.mp4", "bad.mp4", "frames", "1.mp4")]
    options = [f"--config.data.labels={folder}/names.csv", f"--output={folder}/found.json"]
    done = run(f"--config={folder}/small.py", *options, *names)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"{folder / 'bad.mp4'}: cannot be decoded" in done.stderr.splitlines()[-1]
    assert f"the actions of 3 videos are in {folder}/found.json" in done.stdout
    results = json.loads((folder / "found.json").read_text())
    assert [row["video"] for row in results["videos"]] == list(map(str, [names[0], *names[2:]]))
    np.testing.assert_allclose([told(row) for row in results["videos"]], expected, rtol=1e-4)
    assert 0.01 < expected.min() < expected.max() < 0.99
    for row, probabilities in zip(results["videos"], expected, strict=True):
        order = np.argsort(-probabilities)
        assert [action["name"] for action in row["actions"]] == [NAMES[i] for i in order]
        best = f"{probabilities[order[0]]:.1%}", NAMES[order[0]]
        (line,) = (line for line in done.stdout.splitlines() if f" {row['video']} " in line)
        assert all(part in line for part in best)
    facts = {"sampling": "segments", "clips": 2, "crops": 3, "frames": 2, "neighbours": 3,
             "wrap": False, "scale": 40, "trim_seconds": 0, "config": "small",
             "checkpoint": "weights.safetensors"}  # fmt: skip
    assert {name: results[name] for name in facts} == facts
    assert results["merger"] == {"name": "none", "r": 0, "proportional": True}
    assert "jax" in results["versions"]


def test_a_folder_stands_for_its_videos_or_is_one_video_s_frames(tmp_path, monkeypatch, capsys):
    sources = own_videos.sources
    for name in ("clips/b.MOV", "clips/below/a.gif", "clips/img_1.jpg", "clips/._b.MOV",
                 "frames/img_1.jpg", "frames/img_2.jpg", "notes/a.txt"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    here, notes = (str(tmp_path / name) for name in ("clips", "notes"))
    file, frames = f"{notes}/a.txt", str(tmp_path / "frames")
    assert sources([frames, here, file, f"{here}/b.MOV"]) == {
        f"{frames}/img_{{:01d}}.jpg": frames,
        f"{here}/b.MOV": f"{here}/b.MOV",
        f"{here}/below/a.gif": f"{here}/below/a.gif",
        file: file,  # what is named itself is tried, whatever its suffix
    }
    assert capsys.readouterr().err == f"{here}: 2 files skipped: 1 ._*, 1 .jpg\n"
    with pytest.raises(UserError) as fault:
        sources([notes, "x" * 300, "no.mp4"])
    assert [line.split(": ")[1][:18] for line in str(fault.value).splitlines()] == [
        "holds no video and",
        "no such file; name",
        "no such file; name",
    ]


@pytest.mark.slow
def test_names_of_a_prepared_data_set_or_numbers(folder, expected, tmp_path):
    options = [f"--config={folder}/small.py", f"--config.data.folder={tmp_path}", "--top=1"]
    stored = video_text.labels_path(str(tmp_path), "ssv2")
    for named in (False, True):
        if named:
            stored.write_text(json.dumps(NAMES))
        done = run(*options, folder / "0.mp4")
        assert done.returncode == 0, done.stderr
        assert (" config.data.labels=FILE.csv (columns id and name)" in done.stderr) != named
        best = int(expected[0].argmax())
        assert (NAMES if named else [f"action {i}" for i in range(3)])[best] in done.stdout
        assert done.stdout.count("%") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["README.md"], "--config is missing"),
        (
            ["--config=configs/msrvtt_b16.py", "README.md"],
            "'vid_tldr' does not support action recognition; use",
        ),
        ([SSV2], "no video is named: classify.py --config"),
        ([SSV2, "README.md", "a.mp4"], "a.mp4: no such file; name a video"),
        ([SSV2, "docs"], "docs: holds no video and no numbered pictures; name"),
        ([SSV2, "--top=0", "README.md"], "--top=0"),
        ([SSV2, "--output=no/such/x.json", "README.md"], "--output=no/such/x.json: its folder"),
        ([SSV2, "--config.data.labels=no.csv", "README.md"], "no.csv: cannot be read"),
        ([SSV2, "--config.data.sampling=dense", "README.md"], "sampling='dense' is unknown"),
        ([SSV2, "--config.data.clips=0", "README.md"], "config.data.clips=0 must be 1 or more"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, says):
    check_mistake(run(*arguments), says)


@pytest.mark.parametrize("stored", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_names_of_other_actions(folder, tmp_path, stored):
    if stored:
        video_text.labels_path(str(tmp_path), "ssv2").write_text(json.dumps(NAMES))
        option = f"--config.data.folder={tmp_path}"
        says = (
            "config.model.classes=4 is not 3, the number of actions of config.data.dataset='ssv2'"
        )
    else:
        option = f"--config.data.labels={folder}/names.csv"
        says = "names.csv: must name the actions 0 to 3, each once"
    config = f"--config={folder}/small.py"
    check_mistake(run(config, "--config.model.classes=4", option, folder / "0.mp4"), says)


def check_mistake(done, says):
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert says in line
