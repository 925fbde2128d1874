"""The demo's TESTA: paragraphs of four events, found among clips of 32 frames.

The weights were trained from nothing, merging as they do here, by:
  python scripts/prepare_data.py --dataset demo_long
  python scripts/train.py --config configs/demo_testa.py --config.checkpoint= \\
      --config.output=results/demo_testa_training --export demo_testa.safetensors --half
"""

from configs.base import testa
from tokmerge_jax import demo_files


def get_config():
    config = testa.get_config(32)
    config.checkpoint = demo_files.path("demo_testa.safetensors")
    config.model.vision.update(width=64, depth=3, heads=4, image_size=48)
    config.model.text.update(
        width=64, depth=2, heads=4, mlp_width=256, vocab_size=53, max_positions=32
    )
    config.model.embed_dim = 64
    config.model.merger.frames = (12, 6, 2)
    config.model.merger.r = (2, 2, 1)
    config.model.dropout = 0.0
    config.data.dataset = "demo_long"
    config.data.vocabulary = demo_files.path("demo_vocab.txt")
    config.data.paragraph = True
    config.data.max_text_length = 26  # four sentences of six words, and a start and an end
    config.eval.batch_size = 25
    config.eval.top_k = 32
    config.train.batch_size = 30
    config.train.queue = 120
    config.train.alpha = 0.0  # slow copies of random weights have nothing to teach
    config.train.epochs = 14
    config.train.schedule = "cosine"
    config.train.warmup_epochs = 1.0
    config.train.learning_rate = 2e-3
    config.train.remat = False
    return config.lock()
