"""The demo: retrieval among drawn clips by a small UMT with vid-TLDR.

The weights were trained from nothing, merging as they do here, by:
  python scripts/prepare_data.py --dataset demo
  python scripts/train.py --config configs/demo.py --config.checkpoint= \\
      --config.output=results/demo_training --export demo.safetensors --half
"""

from configs.base import vid_tldr
from tokmerge_jax import demo_files


def get_config():
    config = vid_tldr.get_config("b16")
    config.checkpoint = demo_files.path("demo.safetensors")
    config.model.vision.update(width=128, depth=4, heads=4, image_size=96, frames=8)
    config.model.text.update(
        width=128,
        depth=4,
        heads=4,
        mlp_width=512,
        fusion_layer=2,
        vocab_size=51,
        max_positions=16,
    )
    config.model.embed_dim = 128
    config.model.merger.r = (100, 60)
    config.model.dropout = 0.0
    config.data.dataset = "demo"
    config.data.vocabulary = demo_files.path("demo_vocab.txt")
    config.data.max_text_length = 16
    config.eval.batch_size = 25
    config.eval.top_k = 32
    config.train.batch_size = 60
    config.train.epochs = 26
    config.train.learning_rate = 1e-3
    config.train.image_size_min_scale = 0.9
    config.train.remat = False
    config.train.flip = False  # left would become right
    return config.lock()
