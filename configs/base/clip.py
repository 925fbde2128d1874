"""What all configs of TempMe and of plain CLIP share: sizes, data, evaluation, training.

Source: TempMe (ICLR 2025) on CLIP (ICML 2021); `docs/tempme.md` names every key.
"""

from ml_collections import ConfigDict

from configs.base.umt import any_of

_VISION = {
    "b32": {"width": 768, "depth": 12, "heads": 12, "patch_size": 32, "image_size": 224},
    "b16": {"width": 768, "depth": 12, "heads": 12, "patch_size": 16, "image_size": 224},
    "l14": {"width": 1024, "depth": 24, "heads": 16, "patch_size": 14, "image_size": 224},
}
_TEXT = {
    "b32": {"width": 512, "depth": 12, "heads": 8},
    "b16": {"width": 512, "depth": 12, "heads": 8},
    "l14": {"width": 768, "depth": 12, "heads": 12},
}
_EMBED_DIM = {"b32": 512, "b16": 512, "l14": 768}


def get_config(variant: str = "b32") -> ConfigDict:
    """The shared keys of a size, "b32", "b16" or "l14": CLIP, without merging."""
    return ConfigDict(
        {
            "system": "tempme",
            "checkpoint": "",  # an orbax folder, or a .pt / .pth / .safetensors file
            "output": "",  # results, features and scores; "" = results/<config name>
            "seed": 42,
            "dtype": "auto",  # auto: bfloat16 on accelerators, float32 on CPU
            "mesh": {"data": -1, "model": 1},  # devices per axis; -1 = all that are left
            "model": {
                "sizes": "config",  # or "checkpoint": those of the .pt / .safetensors of a CLIP
                "vision": {**_VISION[variant], "frames": 12},
                "text": {**_TEXT[variant], "vocab_size": 49408, "max_positions": 77},
                "embed_dim": _EMBED_DIM[variant],
                "activation": "quick_gelu",  # "gelu" in most of open_clip's own checkpoints
                "lora_rank": 0,  # of changes to q, k and v in all layers; 0 = none
                "merger": {
                    "name": "none",  # or tempme, or tome / vid_tldr in every frame apart
                    "r": any_of(0),  # tokens of a frame that merge in each layer (before the joins)
                    "proportional": True,  # a merged token counts as often as what it stands for
                },
                "join": {  # of tempme alone
                    "layers": (8, 9, 10),  # counted from 0
                    "clips": (2, 2, 3),  # neighbours that become one in each of them
                    "cross": 30.0,  # per cent of a joined clip's tokens that merge across clips
                    "intra": 10.0,  # per cent of a clip's tokens that merge in each layer from then
                    "positions": True,  # learned positions of the clips that join
                },
            },
            "data": {
                "dataset": "",
                "split": "test",
                "folder": "data",  # where prepare_data.py put the data sets
                "vocabulary": "clip",  # a file, or "clip": CLIP's own
                "max_text_length": 32,
                "sampling": "seconds",  # a frame a second, or so many of those as there are frames
                "trim_seconds": 0,  # use only the first seconds of a video; 0 = all of it
                "paragraph": False,  # join a video's captions into one text
                "on_broken": "stop",  # or "skip": leave unreadable videos out
                "workers": 2,
            },
            "eval": {
                "batch_size": 8,
                "metrics": "clip4clip",  # how ranks are counted: clip4clip, umt, tempme
                "dual_softmax": 0.0,  # scale of dual-softmax scores (100 is usual); 0 = cosines
            },
            "train": {
                "split": "train",
                "batch_size": 128,
                "parts": 1,  # a batch is encoded in so many parts: less memory, the same gradient
                "epochs": 5,
                "warmup_epochs": 0.5,
                "learning_rate": 6e-4,
                "min_learning_rate": 0.0,  # as a share of learning_rate
                "schedule": "cosine",  # of the rate: cosine, cosine_by_epoch, decay_by_epoch
                "backbone_rate": 0.0,  # of CLIP's own parameters, as a share; 0 = they are frozen
                "weight_decay": 0.2,
                "clip_norm": 1.0,  # of the gradient, at most; 0 = any
                "gradient_scale": 1.0,  # 0.25 is what four processes of the original make of it
                "augment": True,  # RandAugment
                "remat": False,  # gradient checkpointing: less memory, a third more time
                "eval_split": "",  # evaluate on it after epochs, and keep the best; "" = do not
                "eval_epochs": 1,  # after every so many epochs
                "checkpoint_every": 500,  # steps
                "keep_checkpoints": 2,
            },
        }
    )
