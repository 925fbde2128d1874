"""The demo's TESTA: paragraphs of four events, found among clips of 32 frames.

Target: T2V R@1 83.3, V2T R@1 83.3 at 24 % of the GMAC (docs/demos.md).
Checkpoint: demo/tokmerge_jax_demo/demo_testa.safetensors, the default.
Protocol: 120 drawn test clips, a paragraph each; 32 frames, 32 candidates re-ranked.
Command: tokmerge eval --config demo_testa

The weights were trained from nothing, merging as they do here, by:
  tokmerge prepare --dataset demo_long
  tokmerge train --config demo_testa --config.checkpoint= \\
      --config.output=results/demo_testa_training --export demo_testa.safetensors --half

--config demo_testa:plain reads 8 frames and merges nothing, at the same cost; its weights were
trained from nothing too, by:
  tokmerge train --config demo_testa:plain --config.checkpoint= \\
      --config.output=results/demo_testa_plain_training --export demo_testa_plain.safetensors --half
"""

from tokmerge_jax import demo_files
from tokmerge_jax.config import testa
from tokmerge_jax.errors import UserError

_WEIGHTS = {"aggregated": "demo_testa.safetensors", "plain": "demo_testa_plain.safetensors"}


def get_config(variant: str = "aggregated") -> testa.Retrieval:
    if variant not in _WEIGHTS:
        raise UserError(f"--config=...py:{variant} is not a variant; write :plain, or nothing")
    aggregated = variant == "aggregated"
    return testa.Retrieval(
        checkpoint=demo_files.path(_WEIGHTS[variant]),
        model=testa.RetrievalModel(
            vision=testa.Vision(
                width=64, depth=8, heads=4, image_size=48, frames=32 if aggregated else 8
            ),
            text=testa.Text(
                width=64, depth=2, heads=4, mlp_width=256, vocab_size=53, max_positions=32
            ),
            embed_dim=64,
            merger=testa.Merger(frames=(15, 7, 2), r=(2, 2, 2))
            if aggregated
            else testa.Merger(name="none"),
            dropout=0.0,
        ),
        data=testa.Data(
            dataset="demo_long",
            vocabulary=demo_files.path("demo_vocab.txt"),
            paragraph=True,
            max_text_length=26,  # four sentences of six words, and a start and an end
        ),
        eval=testa.SummingOptions(batch_size=25, top_k=32),
        train=testa.RetrievalTraining(
            batch_size=30,
            queue=120,
            alpha=0.0,  # slow copies of random weights have nothing to teach
            epochs=24,
            schedule="cosine",
            warmup_epochs=2.0,
            learning_rate=1e-3,
            remat=False,
        ),
    )
