"""The demo's TDS-CLIP: actions of drawn shapes, told by a side network beside the demo's CLIP.

The weights were trained from the demo's CLIP, whose own stay as they are, by:
  python scripts/prepare_data.py --dataset demo_actions
  python scripts/train.py --config configs/demo_tdsclip.py \\
      --config.checkpoint=demo/tokmerge_jax_demo/demo_clip.safetensors \\
      --config.output=results/demo_tdsclip_training --export demo_tdsclip.safetensors --half

configs/demo_tdsclip.py:average is what it is compared with, a classifier of the mean of that CLIP's
frames. Its weights come from half of these clips in 10 epochs; its loss stays at ln 10.
"""

from configs.base import tds_clip
from tokmerge_jax import demo_files
from tokmerge_jax.types import UserError

_WEIGHTS = {"side": "demo_tdsclip.safetensors", "average": "demo_clip_average.safetensors"}


def get_config(variant="side"):
    config = tds_clip.get_config("b16")
    if variant not in _WEIGHTS:
        raise UserError(f"--config=...py:{variant} is no variant of it; write :average, or nothing")
    config.checkpoint = demo_files.path(_WEIGHTS[variant])
    config.model.vision.update(width=128, depth=6, heads=4, patch_size=16, image_size=96)
    config.model.side.width = 64
    if variant == "average":
        config.model.side.update(width=0, differences=False)
    config.model.classes = 10
    config.model.merger.r = 3  # where it merges, which it does not by itself
    config.data.dataset = "demo_actions"
    config.data.split = "test"
    config.data.clips = 2
    config.data.crops = 1
    config.data.scale = 96
    config.eval.batch_size = 10
    config.train.batch_size = 50
    config.train.groups = 1
    config.train.epochs = 12
    config.train.warmup_epochs = 1.0
    config.train.schedule = "cosine"
    config.train.augment = False
    config.train.learning_rate = 1e-3 if variant == "side" else 3e-2
    config.train.min_area = 0.7  # smaller crops would lose what happens
    return config.lock()
