"""The demo's TempMe: the small CLIP of `demo_clip`, whose frames join and merge, tuned by LoRA.

The weights were trained from the demo's CLIP by:
  python scripts/prepare_data.py --dataset demo
  python scripts/train.py --config configs/demo_tempme.py \\
      --config.checkpoint=demo/tokmerge_jax_demo/demo_clip.safetensors \\
      --config.output=results/demo_tempme_training --export demo_tempme.safetensors --half
"""

from configs import demo_clip
from tokmerge_jax import demo_files


def get_config():
    config = demo_clip.get_config().unlock()
    config.checkpoint = demo_files.path("demo_tempme.safetensors")
    config.model.lora_rank = 8
    config.model.merger.name = "tempme"
    config.model.merger.r = 2
    config.model.join.layers = (2, 3, 4)
    config.model.join.clips = (2, 2, 2)
    config.train.backbone_rate = 0.0
    config.train.epochs = 10
    config.train.warmup_epochs = 0.5
    config.train.learning_rate = 1e-3
    config.train.weight_decay = 0.0
    return config.lock()
