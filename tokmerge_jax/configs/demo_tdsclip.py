"""The demo's TDS-CLIP: actions of drawn shapes, by a side network beside the demo's CLIP.

Target: top-1 97.5 (docs/demos.md); 50 is the most without the order of frames.
Checkpoint: demo/tokmerge_jax_demo/demo_tdsclip.safetensors, the default.
Protocol: 200 drawn test clips of 10 actions; 2 clips x 1 crop, mean of the views' softmax.
Command: tokmerge eval --config demo_tdsclip

The weights were trained from the demo's CLIP, which stays frozen, by:
  tokmerge prepare --dataset demo_actions
  tokmerge train --config demo_tdsclip \\
      --config.checkpoint=demo/tokmerge_jax_demo/demo_clip.safetensors \\
      --config.output=results/demo_tdsclip_training --export demo_tdsclip.safetensors --half

--config demo_tdsclip:average is the baseline, a classifier of the mean of that CLIP's
frames. Its weights come from half of these clips in 10 epochs; its loss stays at ln 10.
"""

from tokmerge_jax import demo_files
from tokmerge_jax.config import tds_clip
from tokmerge_jax.errors import UserError

_WEIGHTS = {"side": "demo_tdsclip.safetensors", "average": "demo_clip_average.safetensors"}


def get_config(variant: str = "side") -> tds_clip.Recognition:
    if variant not in _WEIGHTS:
        raise UserError(f"--config=...py:{variant} is not a variant; write :average, or nothing")
    beside = variant == "side"
    return tds_clip.Recognition(
        checkpoint=demo_files.path(_WEIGHTS[variant]),
        model=tds_clip.Model(
            vision=tds_clip.Vision(width=128, depth=6, heads=4, image_size=96),
            side=tds_clip.Side(width=64 if beside else 0, differences=beside),
            classes=10,
            merger=tds_clip.Merger(r=3),  # used only with merger.name=tome
        ),
        data=tds_clip.ActionData(dataset="demo_actions", split="test", clips=2, crops=1, scale=96),
        eval=tds_clip.Evaluation(batch_size=10),
        train=tds_clip.Training(
            batch_size=50,
            groups=1,
            epochs=12,
            warmup_epochs=1.0,
            schedule="cosine",
            augment=False,
            learning_rate=1e-3 if beside else 3e-2,
            min_area=0.7,  # smaller crops would lose what happens
        ),
    )
