"""The demo's small CLIP: retrieval among drawn clips by the mean of their frames, no merging.

The weights were trained from nothing by:
  python scripts/prepare_data.py --dataset demo
  python scripts/train.py --config configs/demo_clip.py --config.checkpoint= \\
      --config.model.vision.frames=4 --config.output=results/demo_clip_training \\
      --export demo_clip.safetensors --half
"""

from configs.base import clip
from tokmerge_jax import demo_files


def get_config():
    config = clip.get_config("b32")
    config.checkpoint = demo_files.path("demo_clip.safetensors")
    config.model.vision.update(width=128, depth=6, heads=4, patch_size=16, image_size=96, frames=8)
    config.model.text.update(width=128, depth=4, heads=4, vocab_size=578, max_positions=16)
    config.model.embed_dim = 128
    config.data.dataset = "demo"
    config.data.vocabulary = demo_files.path("demo_bpe.txt")
    config.data.max_text_length = 16
    config.eval.batch_size = 25
    config.train.batch_size = 100
    config.train.epochs = 40
    config.train.warmup_epochs = 2.0
    config.train.learning_rate = 1e-3
    config.train.backbone_rate = 1.0
    config.train.weight_decay = 0.05
    config.train.augment = False  # other colours would belie the captions
    return config.lock()
