"""What all configs of vid-TLDR on UMT share: the sizes B/16 and L/16, data, evaluation, training.

Source: vid-TLDR (CVPR 2024) on UMT (ICCV 2023); `docs/vid_tldr.md` names every key.
"""

from ml_collections import ConfigDict, FieldReference

_VISION = {
    "b16": {"width": 768, "depth": 12, "heads": 12},
    "l16": {"width": 1024, "depth": 24, "heads": 16},
}
_TEXT = {
    "b16": {"width": 768, "depth": 12, "heads": 12, "mlp_width": 3072, "fusion_layer": 9},
    "l16": {"width": 1024, "depth": 24, "heads": 16, "mlp_width": 4096, "fusion_layer": 19},
}


def any_of(value: object) -> FieldReference:
    """A key that takes values of any type, for example a schedule: 16, (600, 200, 100), [0.3]."""
    return FieldReference(value, field_type=object)


def get_config(variant: str) -> ConfigDict:
    """The shared keys of a size, "b16" or "l16"."""
    return ConfigDict(
        {
            "checkpoint": "",  # an orbax folder, or a .pth / .safetensors file
            "output": "",  # results, features and scores; "" = results/<config name>
            "seed": 42,
            "dtype": "auto",  # auto: bfloat16 on accelerators, float32 on CPU
            "mesh": {"data": -1, "model": 1},  # devices per axis; -1 = all that are left
            "model": {
                "vision": {
                    **_VISION[variant],
                    "patch_size": 16,
                    "image_size": 224,
                    "frames": 12,
                    "table_frames": 0,  # frames of the checkpoint's position table; 0 = `frames`
                    "keep_temporal": False,
                },
                "text": {**_TEXT[variant], "vocab_size": 30522, "max_positions": 512},
                "merger": {"name": "vid_tldr", "r": any_of((0,))},
                "dropout": 0.1,
                "drop_path": 0.0,
            },
            "data": {
                "dataset": "",
                "split": "test",
                "folder": "data",  # where prepare_data.py put the data sets
                "vocabulary": "bert-base-uncased",  # a file, or a name on the Hugging Face hub
                "max_text_length": 32,
                "sampling": "intervals",  # a frame of each of so many intervals
                "trim_seconds": 0,  # use only the first seconds of a video; 0 = all of it
                "on_broken": "stop",  # or "skip": leave unreadable videos out
                "workers": 2,
            },
            "eval": {
                "batch_size": 8,
                "top_k": 128,
                "memory_gib": 2.0,  # bound on what scoring pairs or answers holds at once
            },
            "train": {
                "split": "train",
                "batch_size": 256,
                "epochs": 10,
                "warmup_epochs": 1.0,
                "learning_rate": 1e-5,
                "min_learning_rate": 0.01,  # as a share of learning_rate
                "schedule": "cosine",  # of the rate: cosine, cosine_by_epoch, decay_by_epoch
                "weight_decay": 0.02,
                "image_size_min_scale": 0.5,  # random resized crop: smallest share of the area
                "flip": True,
                "remat": True,  # gradient checkpointing: less memory, a third more time
                "eval_split": "",  # evaluate on it after epochs, and keep the best; "" = do not
                "eval_epochs": 1,  # after every so many epochs
                "checkpoint_every": 500,  # steps
                "keep_checkpoints": 2,
            },
        }
    )
