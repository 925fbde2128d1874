"""The demo: retrieval among drawn clips by a small UMT with vid-TLDR.

Target: T2V R@1 82, V2T R@1 84 (README.md), without merging 70 and 76.5.
Checkpoint: demo/tokmerge_jax_demo/demo.safetensors, the default.
Protocol: 200 drawn test clips, one caption each; 8 frames, 32 candidates re-ranked.
Command: tokmerge eval --config demo

The weights were trained from nothing, merging as they do here, by:
  tokmerge prepare --dataset demo
  tokmerge train --config demo --config.checkpoint= \\
      --config.output=results/demo_training --export demo.safetensors --half

--config demo:plain has weights that were trained without merging, from those of demo_moves; T2V and
V2T R@1 91.5, without merging 93.5 (docs/demos.md). The commands:
  tokmerge prepare --dataset demo --splits mixed
  tokmerge train --config demo:plain --config.model.merger.name=none \\
      --config.checkpoint=demo/tokmerge_jax_demo/demo_moves.safetensors \\
      --config.output=results/demo_plain_training --export demo_plain.safetensors --half
"""

from tokmerge_jax import demo_files
from tokmerge_jax.config import umt
from tokmerge_jax.errors import UserError

_WEIGHTS = {"merged": "demo.safetensors", "plain": "demo_plain.safetensors"}
_TRAINING = {"merged": ("train", 26, 1.0), "plain": ("mixed", 6, 0.1)}


def get_config(variant: str = "merged") -> umt.Retrieval:
    if variant not in _WEIGHTS:
        raise UserError(f"--config=...py:{variant} is not a variant; write :plain, or nothing")
    split, epochs, backbone_rate = _TRAINING[variant]
    return umt.Retrieval(
        checkpoint=demo_files.path(_WEIGHTS[variant]),
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
            split=split,
            batch_size=60,
            epochs=epochs,
            learning_rate=1e-3,
            backbone_rate=backbone_rate,  # a higher one loses what the transformer knows already
            image_size_min_scale=0.9,
            remat=False,
            flip=False,  # left would become right
        ),
    )
