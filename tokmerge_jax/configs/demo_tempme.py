"""The demo's TempMe: the small CLIP of `demo_clip`, whose frames join and merge, tuned by LoRA.

Target: T2V R@1 88.5, V2T R@1 87 at 60 % of the GMAC (docs/demos.md).
Checkpoint: demo/tokmerge_jax_demo/demo_tempme.safetensors, the default.
Protocol: 200 drawn test clips, one caption each; 8 frames, cosines.
Command: tokmerge eval --config demo_tempme

The weights were trained from the demo's CLIP, on clips that only movement tells apart, by:
  tokmerge prepare --dataset demo --splits twins
  tokmerge train --config demo_tempme \\
      --config.checkpoint=demo/tokmerge_jax_demo/demo_clip.safetensors \\
      --config.train.split=twins --config.train.together=4 --config.train.batch_size=64 \\
      --config.train.epochs=14 --config.train.learning_rate=2e-3 \\
      --config.output=results/demo_tempme_training --export demo_tempme.safetensors --half
"""

from tokmerge_jax import demo_files
from tokmerge_jax.config import clip
from tokmerge_jax.configs import demo_clip


def get_config() -> clip.Retrieval:
    plain = demo_clip.get_config()
    return clip.Retrieval(
        checkpoint=demo_files.path("demo_tempme.safetensors"),
        model=clip.Model(
            vision=plain.model.vision,
            text=plain.model.text,
            embed_dim=plain.model.embed_dim,
            lora_rank=8,
            merger=clip.Merger(name="tempme", r=2),
            join=clip.Join(layers=(2, 3, 4), clips=(2, 2, 2)),
        ),
        data=plain.data,
        eval=plain.eval,
        train=clip.Training(
            batch_size=100, epochs=10, learning_rate=1e-3, weight_decay=0.0, augment=False
        ),
    )
