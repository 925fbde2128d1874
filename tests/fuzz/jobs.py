"""The long jobs of the scripts, on small data: how each is started, how far it is, its outcome."""

import collections
import dataclasses
import json
import pathlib
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from absl import logging
from safetensors.numpy import load_file

from tests.fuzz import weights
from tests.support import clips
from tokmerge_jax import registry
from tokmerge_jax.configs import demo, demo_qa
from tokmerge_jax.data.datasets import video_text
from tokmerge_jax.data.datasets.video_text import Action, Clip, Question, Record
from tokmerge_jax.own_videos.table import Table, lance
from tokmerge_jax.training import export

VIDEOS = 48
_SIZES = {
    "model.vision.width": 32,
    "model.vision.depth": 2,
    "model.vision.heads": 2,
    "model.vision.image_size": 64,
    "model.vision.frames": 4,
    "model.text.width": 32,
    "model.text.depth": 2,
    "model.text.heads": 2,
    "model.text.mlp_width": 64,
    "model.text.fusion_layer": 1,
    "model.merger.r": 12,
}
_COLOURS, _SHAPES = ("red", "blue", "green", "yellow"), ("circle", "square", "cross")

Units = frozenset[Hashable]


@dataclasses.dataclass(frozen=True)
class Job:
    """A script that goes on when it was killed.

    Attributes:
      command: the script and its arguments, from the folders of the data and of the output.
      done: what need not be done again, from the output's folder and the notes of `observed`:
        each with something that changes when it is done again.
      outcome: what it ends with, from the output's folder; comparable.
    """

    command: Callable[[pathlib.Path, pathlib.Path], Sequence[str]]
    done: Callable[[pathlib.Path, pathlib.Path], Units]
    outcome: Callable[[pathlib.Path], Any]


def make(data: pathlib.Path) -> None:
    """Writes videos, annotations of them in several forms, and random weights."""
    logging.set_verbosity(logging.ERROR)  # TFDS warns of every configuration that is not its own
    names = [f"{i}.mp4" for i in range(VIDEOS)]
    (data / "videos").mkdir(parents=True)
    for i, name in enumerate(names):
        clips.write(data / "videos" / name, clips.draw(12, 48, 64, seed=i))
    seen = [(Clip(name, str(data / "videos" / name)),) for name in names]
    words = [f"a {_COLOURS[i % 4]} {_SHAPES[i % 3]}" for i in range(VIDEOS)]
    captions = [Record(clip, (text,)) for clip, text in zip(seen, words, strict=True)]
    asked = [
        Question(clip, f"{i}{what}", f"what {what}?", (text.split()[1 + k],))
        for i, (clip, text) in enumerate(zip(seen, words, strict=True))
        for k, what in enumerate(("colour", "shape"))
    ]
    shown = [Action(clip, i % 10, 12) for i, clip in enumerate(seen)]
    folder = str(data)
    video_text.write(folder, "msvd", {"test": captions, "train": captions[:24]})
    video_text.write(folder, "msvd_qa", {"test": asked})
    video_text.write(folder, "demo_actions", {"test": shown})
    answers = video_text.answers_path(folder, "msvd_qa")
    answers.write_text(json.dumps([*_COLOURS, *_SHAPES]))
    video_text.labels_path(folder, "demo_actions").write_text(json.dumps([*"abcdefghij"]))
    (data / "many").mkdir()
    for i in range(5 * VIDEOS):  # preparation is quick
        (data / "many" / f"{i}.mp4").hardlink_to(data / "videos" / names[i % VIDEOS])
    rows = [{"video": f"{i}.mp4", "caption": words[i % VIDEOS]} for i in range(5 * VIDEOS)]
    (data / "msrvtt_ret_test1k.json").write_text(json.dumps(rows))
    for config in (demo.get_config(), demo_qa.get_config()):
        sizes = {key: value for key, value in _SIZES.items() if key in config.keys}
        drawn = weights.drawn(registry.build(config.override(sizes)))
        export.write(data / f"{config.system}.safetensors", drawn)


def _run(script: str, config: str, data: pathlib.Path, output: pathlib.Path, **keys: Any) -> list:
    """A script's command, with the small sizes of the demo's systems."""
    settings = {"data.folder": data, "data.workers": 0, "output": output, "eval.batch_size": 1}
    settings |= {name.replace("__", "."): value for name, value in keys.items()}
    flags = [f"--config.{name}={value}" for name, value in settings.items()]
    return [f"scripts/{script}.py", f"--config=configs/{config}.py", *flags]


def _of_umt(script: str, name: str, data: pathlib.Path, output: pathlib.Path, **keys: Any) -> list:
    sizes = {key.replace(".", "__"): value for key, value in _SIZES.items()}
    return _run(script, name, data, output, **sizes, **keys)


def _retrieval(data: pathlib.Path, output: pathlib.Path) -> list:
    weights = data / "vid_tldr.safetensors"
    return _of_umt("eval", "demo", data, output, checkpoint=weights, data__dataset="msvd",
                   eval__top_k=6)  # fmt: skip


def _questions(data: pathlib.Path, output: pathlib.Path) -> list:
    weights = data / "vid_tldr_qa.safetensors"
    return _of_umt("eval", "demo_qa", data, output, checkpoint=weights, data__dataset="msvd_qa",
                   eval__top_k=4)  # fmt: skip


def _actions(data: pathlib.Path, output: pathlib.Path) -> list:
    return _run("eval", "demo_tdsclip", data, output)


def _training(data: pathlib.Path, output: pathlib.Path) -> list:
    command = _of_umt("train", "demo", data, output, checkpoint="", data__dataset="msvd",
                      train__batch_size=4, train__epochs=8, train__checkpoint_every=1,
                      train__keep_checkpoints=1000)  # fmt: skip
    return [*command, f"--export={output / 'trained.safetensors'}"]


def _schedules(data: pathlib.Path, output: pathlib.Path) -> list:
    weights = data / "vid_tldr.safetensors"
    command = _of_umt("search_schedule", "demo", data, output, checkpoint=weights,
                      data__dataset="msvd", eval__rerank=False, eval__batch_size=12)  # fmt: skip
    return [*command, "--split=train", "--budget=0.9", "--trials=24"]


def _index(data: pathlib.Path, output: pathlib.Path) -> list:
    command = _of_umt("search", "demo", data, output, checkpoint=data / "vid_tldr.safetensors")
    return [command[0], "index", *command[1:], f"--videos={data / 'videos'}", f"--index={output}"]


def _preparation(data: pathlib.Path, output: pathlib.Path) -> list:
    return ["scripts/prepare_data.py", "--dataset=msrvtt", f"--annotations={data}",
            f"--videos={data / 'many'}", f"--folder={output}", "--workers=2"]  # fmt: skip


def _rows(output: pathlib.Path, notes: pathlib.Path) -> Units:
    """Rows of a store's stages whose arrays all have them, and how often each was written."""
    written = collections.Counter(
        (file, row)
        for file, rows in map(json.loads, notes.read_text().splitlines() if notes.exists() else ())
        for row in rows
    )
    stages = collections.defaultdict[pathlib.Path, list[pathlib.Path]](list)
    for file in output.rglob("*.done"):  # such as video_embedding.done and video_tokens.done
        name = file.name.split("_")[0].replace("answers", "scores")
        stages[file.with_name(name)].append(file)
    units = set()
    for stage, files in stages.items():
        marks = np.stack([np.fromfile(file, np.uint64) for file in files])
        for row in np.flatnonzero(marks.all(axis=0)).tolist():
            units.add((stage, row, max(written[str(file), row] for file in files)))
    return frozenset(units)


def _lines(pattern: str, key: Callable[[Any], Hashable]) -> Callable[..., Units]:
    """The lines of a log, and how often each thing is in it."""

    def done(output: pathlib.Path, notes: pathlib.Path) -> Units:
        del notes
        text = "".join(file.read_text() for file in output.glob(pattern))
        whole = text[: text.rfind("\n") + 1].splitlines()
        counts = collections.Counter(key(json.loads(line)) for line in whole if line.strip())
        return frozenset(counts.items())

    return done


def _checkpoints(output: pathlib.Path, notes: pathlib.Path) -> Units:
    """Finished steps, and when they were saved."""
    del notes
    folder = output / "training" / "checkpoints"
    places = [place for place in folder.glob("*") if place.name.isdigit()]
    return frozenset((place.name, place.stat().st_mtime_ns) for place in places)


def _videos(output: pathlib.Path, notes: pathlib.Path) -> Units:
    """Videos in the index, and when they were stored."""
    del notes
    if not Table.exists(output):
        return frozenset()
    columns = ["path", "_row_created_at_version"]
    rows = lance.dataset(str(output / "videos.lance")).to_table(columns=columns).to_pylist()
    return frozenset(tuple(row.values()) for row in rows)


def _scores(output: pathlib.Path) -> Any:
    results = json.loads((output / "results.json").read_text())
    with np.load(output / "scores.npz") as arrays:
        return results["headline"], results["scores"], {k: x.tobytes() for k, x in arrays.items()}


def _trained(output: pathlib.Path) -> Any:
    arrays = {k: x.tobytes() for k, x in load_file(output / "trained.safetensors").items()}
    return arrays, (output / "training" / "metrics.jsonl").read_text()


def _found_schedules(output: pathlib.Path) -> Any:
    (file,) = output.glob("search/train/budget_*.json")
    return file.read_text()


def _indexed(output: pathlib.Path) -> Any:
    rows = lance.dataset(str(output / "videos.lance")).to_table().to_pylist()
    return sorted(rows, key=lambda row: row["path"])


def _prepared(output: pathlib.Path) -> Any:
    report = video_text.report_path(str(output), "msrvtt").read_text()
    return report, video_text.read(str(output), "msrvtt", "test")


JOBS = {
    "retrieval": Job(_retrieval, _rows, _scores),
    "questions": Job(_questions, _rows, _scores),
    "actions": Job(_actions, _rows, _scores),
    "training": Job(_training, _checkpoints, _trained),
    "schedules": Job(
        _schedules,
        _lines("search/train/trials.jsonl", lambda line: (*line["r"],)),
        _found_schedules,
    ),
    "index": Job(_index, _videos, _indexed),
    "preparation": Job(_preparation, _lines("*_checks.jsonl", lambda line: line[0]), _prepared),
}
"""By name."""
