"""Two steps of each kind of training, of tiny networks, by several processes.

`python small_trainings.py FOLDER TARGET --distributed=...` trains in TARGET/NAME on what `prepare`
wrote to FOLDER.
"""

import json
import sys

import clips
import recognition_case

import tokmerge_jax
from tokmerge_jax import command_line, hosts, objects
from tokmerge_jax.configs import demo, demo_tdsclip, demo_tempme, demo_testa
from tokmerge_jax.data.datasets import video_text
from tokmerge_jax.data.datasets.video_text import Action, Clip, Record
from tokmerge_jax.tasks.training import train

CAPTIONS = ("a small red square moves left", "a blue circle", "a red circle", "a blue square")
SMALL = {
    "checkpoint": "",
    "dtype": "float32",
    "data.workers": 0,
    "model.vision.depth": 2,
    "model.vision.image_size": 32,
    "train.epochs": 1,
    "train.warmup_epochs": 0.0,
    "train.batch_size": 8,
}
ABOUT_TEXTS = {"data.dataset": "msvd", "model.text.depth": 2}
CONFIGS = {
    "umt": demo.get_config().override(
        {
            **SMALL,
            **ABOUT_TEXTS,
            "model.vision.depth": 1,
            "model.vision.frames": 2,
            "model.text.fusion_layer": 1,
            "model.merger.r": (2,),
            "mesh.fsdp": 2,
            "train.eval_split": "train",
        }
    ),
    "tempme": demo_tempme.get_config().override(
        {**SMALL, **ABOUT_TEXTS, "model.join.layers": (1,), "model.join.clips": (2,)}
    ),
    "testa": demo_testa.get_config().override(
        {
            **SMALL,
            **ABOUT_TEXTS,
            "model.vision.depth": 1,
            "model.text.depth": 1,
            "model.merger.frames": (12,),
            "model.merger.r": (1,),
            "train.queue": 16,
            "train.alpha": 0.4,
            "mesh.fsdp": 2,
        }
    ),
    "tds_clip": demo_tdsclip.get_config().override(
        {
            **SMALL,
            "data.dataset": "ssv2",
            "data.scale": (32, 48),
            "model.classes": 3,
            "train.groups": 2,
        }
    ),
    "recognition": recognition_case.config_of().override(
        {
            **SMALL,
            "data.dataset": "ssv2",
            "data.scale": 32,
            "model.classes": 3,
            "model.drop_path": 0.2,
            "train.mixup": True,
        }
    ),
}


def prepare(folder):
    """Writes 16 clips, with captions and as actions, for two steps of 8 rows."""
    shown, acted = [], []
    for i in range(16):
        clips.write(folder / f"{i}.mp4", clips.draw(20, 40, 48, seed=i))
        clip = Clip(f"{i}", f"{i}.mp4")
        shown.append(Record((clip,), (CAPTIONS[i % 4],)))
        acted.append(Action((clip,), i % 3, 20))
    video_text.write(str(folder), "msvd", {"train": shown})
    video_text.write(str(folder), "ssv2", {"train": acted})
    video_text.labels_path(str(folder), "ssv2").write_text(json.dumps(("left", "right", "up")))


def main():
    folder, target, where = sys.argv[1:]
    with command_line.reported():
        hosts.join(where.removeprefix("--distributed="))
    with hosts.together(), command_line.reported():
        for name, config in CONFIGS.items():
            system = tokmerge_jax.build(config.override({"data.folder": folder}))
            train(system, objects.place(f"{target}/{name}"))


if __name__ == "__main__":
    main()
