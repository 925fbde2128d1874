"""What the TDS-CLIP configs share: CLIP ViT-B/16 and L/14, the side network, data, training.

Source: TDS-CLIP (arXiv 2408.10688) on CLIP (ICML 2021); `docs/tds_clip.md` names every key.
"""

from ml_collections import ConfigDict

from configs.base.umt import any_of

_VISION = {
    "b16": {"width": 768, "depth": 12, "heads": 12, "patch_size": 16, "image_size": 224},
    "l14": {"width": 1024, "depth": 24, "heads": 16, "patch_size": 14, "image_size": 224},
}
_SIDE_WIDTH = {"b16": 320, "l14": 512}
_RATE = {"b16": 1e-3, "l14": 1e-4}


def get_config(variant: str = "b16") -> ConfigDict:
    """The shared keys of a size, "b16" or "l14", as for Something-Something."""
    config = ConfigDict(
        {
            "system": "tds_clip",
            "checkpoint": "",  # an orbax folder, or a .pt / .pth / .safetensors file
            "output": "",  # results, scores and pictures; "" = results/<config name>
            "seed": 1024,
            "dtype": "auto",  # auto: bfloat16 on accelerators, float32 on CPU
            "mesh": {"data": -1, "model": 1},  # devices per axis; -1 = all that are left
            "model": {
                "vision": {**_VISION[variant], "frames": 8},  # one of each segment
                "side": {
                    "width": _SIDE_WIDTH[variant],  # 0 = none: the mean of CLIP's class tokens
                    "differences": True,  # of neighbouring frames; False = Side4Video
                },
                "classes": 174,
                "merger": {  # in the frozen transformer, each frame apart
                    "name": "none",  # or tome
                    "r": any_of(0),  # tokens that merge in each block
                    "proportional": True,  # a merged token counts as often as what it stands for
                },
            },
            "data": {
                "dataset": "",
                "split": "val",
                "folder": "data",  # where prepare_data.py put the data sets
                "labels": "",  # a CSV of the actions' names (id,name); "" = the data set's
                "sampling": "segments",  # or ticks (Kinetics), windows (of 128 frames: dense)
                "clips": 2,  # so many times frames of all segments, in evaluation
                "crops": 3,  # of each clip, in evaluation: 1, 3, 5 or 10
                "wrap": True,  # before a video file's first frame come its last; False = the first
                "scale": any_of((256, 320)),  # height, width before the crop; an int: shorter side
                "trim_seconds": 0,  # use only a video's first seconds (frame folders: 25 frames/s)
                "on_broken": "stop",  # or "skip": leave unreadable videos out
                "workers": 2,
            },
            "eval": {"batch_size": 2},  # videos, each of all its views
            "train": {
                "split": "train",
                "batch_size": 256,  # clips a step
                "samples": 2,  # clips that are made of each video that is read
                "groups": 8,  # a batch passes in so many; batch norms see one, as on so many GPUs
                "epochs": 30,
                "warmup_epochs": 4.0,
                "learning_rate": _RATE[variant],
                "min_learning_rate": 0.0,  # as a share of learning_rate
                "side_rate": 1.0,  # the side network's share of it; batch norms and head have all
                "schedule": "cosine_by_ten",  # of the rate; cosine rises and falls in each step
                "weight_decay": 0.15,
                "label_smoothing": 0.1,
                "mixup": False,  # mixup and cutmix
                "augment": True,  # RandAugment
                "grey": 0.0,  # share of the clips without colours
                "min_area": 0.08,  # share of a frame that a crop has at least
                "remat": False,  # gradient checkpointing: less memory, a third more time
                "eval_split": "",  # evaluate on it after epochs, and keep the best; "" = do not
                "eval_epochs": 1,  # after every so many epochs
                "checkpoint_every": 500,  # steps
                "keep_checkpoints": 2,
            },
        }
    )
    # frames that are read around each chosen one, itself included: 5, or 1 without differences
    config.data.neighbours = 1 + 4 * config.model.side.get_oneway_ref("differences").to_int()
    return config


def kinetics(variant: str = "b16") -> ConfigDict:
    """The shared keys of a size, as for Kinetics-400."""
    config = get_config(variant)
    config.model.classes = 400
    config.data.update(dataset="k400", sampling="ticks", clips=4, scale=256)
    config.train.update(augment=False, grey=0.2)
    return config
