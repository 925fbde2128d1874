"""The demo's action recognition with UMT: one or two movements of drawn shapes, with vid-TLDR.

Target: top-1 77.9 (docs/demos.md), without merging 77.9; 20 actions.
Checkpoint: demo/tokmerge_jax_demo/demo_moves.safetensors, the default.
Protocol: 240 drawn test clips; 1 view of 8 frames.
Command: tokmerge eval --config demo_moves

The weights were trained from nothing, without merging, by:
  tokmerge prepare --dataset demo_moves
  tokmerge train --config demo_moves --config.checkpoint= --config.model.merger.name=none \\
      --config.output=results/demo_moves_training --export demo_moves.safetensors --half

demo:plain starts from them: a network of this size does not learn from captions alone which way a
shape moves.
"""

from tokmerge_jax import demo_files
from tokmerge_jax.config import umt


def get_config() -> umt.Recognition:
    return umt.Recognition(
        checkpoint=demo_files.path("demo_moves.safetensors"),
        model=umt.RecognitionModel(
            vision=umt.Vision(width=128, depth=4, heads=4, image_size=96, frames=8),
            classes=20,
            merger=umt.Merger(r=(100, 60)),
        ),
        data=umt.ActionData(
            dataset="demo_moves", split="test", clips=1, crops=1, scale=96, neighbours=1
        ),
        eval=umt.Evaluation(batch_size=20),
        train=umt.RecognitionTraining(
            batch_size=64,
            together=4,
            epochs=18,
            learning_rate=5e-4,
            label_smoothing=0.0,
            image_size_min_scale=0.9,
            remat=False,
            flip=False,  # left would become right
        ),
    )
