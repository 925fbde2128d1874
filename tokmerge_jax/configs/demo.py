"""The demo: retrieval among drawn clips by a small UMT with vid-TLDR.

Target: T2V R@1 82, V2T R@1 84 (README.md), without merging 70 and 76.5.
Checkpoint: demo/tokmerge_jax_demo/demo.safetensors, the default.
Protocol: 200 drawn test clips, one caption each; 8 frames, 32 candidates re-ranked.
Command: tokmerge eval --config demo

The weights were trained from nothing, merging as they do here, by:
  tokmerge prepare --dataset demo
  tokmerge train --config demo --config.checkpoint= \\
      --config.output=results/demo_training --export demo.safetensors --half
"""

from tokmerge_jax import demo_files
from tokmerge_jax.config import umt


def get_config() -> umt.Retrieval:
    return umt.Retrieval(
        checkpoint=demo_files.path("demo.safetensors"),
        model=umt.RetrievalModel(
            vision=umt.Vision(width=128, depth=4, heads=4, image_size=96, frames=8),
            text=umt.Text(
                width=128,
                depth=4,
                heads=4,
                mlp_width=512,
                fusion_layer=2,
                vocab_size=51,
                max_positions=16,
            ),
            embed_dim=128,
            merger=umt.Merger(r=(100, 60)),
            dropout=0.0,
        ),
        data=umt.TextData(
            dataset="demo", vocabulary=demo_files.path("demo_vocab.txt"), max_text_length=16
        ),
        eval=umt.RerankingOptions(batch_size=25, top_k=32),
        train=umt.RetrievalTraining(
            batch_size=60,
            epochs=26,
            learning_rate=1e-3,
            image_size_min_scale=0.9,
            remat=False,
            flip=False,  # left would become right
        ),
    )
