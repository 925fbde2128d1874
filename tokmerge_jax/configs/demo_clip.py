"""The demo's small CLIP: retrieval among drawn clips by the mean of their frames, no merging.

Target: T2V R@1 47, V2T R@1 44.5 (docs/demos.md); 50 is the most, as each clip has its reverse.
Checkpoint: demo/tokmerge_jax_demo/demo_clip.safetensors, the default.
Protocol: 200 drawn test clips, one caption each; 8 frames, cosines.
Command: tokmerge eval --config demo_clip

The weights were trained from nothing by:
  tokmerge prepare --dataset demo
  tokmerge train --config demo_clip --config.checkpoint= \\
      --config.model.vision.frames=4 --config.output=results/demo_clip_training \\
      --export demo_clip.safetensors --half
"""

from tokmerge_jax import demo_files
from tokmerge_jax.config import clip


def get_config() -> clip.Retrieval:
    return clip.Retrieval(
        checkpoint=demo_files.path("demo_clip.safetensors"),
        model=clip.Model(
            vision=clip.Vision(width=128, depth=6, heads=4, patch_size=16, image_size=96, frames=8),
            text=clip.Text(width=128, depth=4, heads=4, vocab_size=578, max_positions=16),
            embed_dim=128,
        ),
        data=clip.Data(
            dataset="demo", vocabulary=demo_files.path("demo_bpe.txt"), max_text_length=16
        ),
        eval=clip.RetrievalOptions(batch_size=25, metrics="clip4clip"),
        train=clip.Training(
            batch_size=100,
            epochs=40,
            warmup_epochs=2.0,
            learning_rate=1e-3,
            backbone_rate=1.0,
            weight_decay=0.05,
            augment=False,  # other colours would belie the captions
        ),
    )
