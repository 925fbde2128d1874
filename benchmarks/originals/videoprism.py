"""VideoPrism-LvT inside PyTorch, for `driver.py`: its video transformers alone.

The original is written in JAX. Timed is its port to PyTorch, from a folder that has the package
transformers (a checkout's `src`, or an environment's packages); needs torch and what that needs.
"""

import sys
from importlib import import_module
from typing import Any

import torch

from benchmarks.originals.tower import Tower


class Original(Tower):
    """The port's video transformers with their pooling."""

    def build(self, checkout: str, job: dict[str, Any]) -> None:
        """Adds `video_model`."""
        sys.path.insert(0, checkout)
        transformers, vision = import_module("transformers"), job["vision"]
        config = transformers.VideoPrismVisionConfig(
            image_size=vision["image_size"],
            num_frames=vision["frames"],
            tubelet_size=[1, vision["patch_size"], vision["patch_size"]],
            hidden_size=vision["width"],
            num_attention_heads=vision["heads"],
            intermediate_size=vision["mlp_width"],
            num_spatial_layers=vision["depth"],
            num_temporal_layers=vision["temporal_depth"],
            num_auxiliary_layers=vision["auxiliary_depth"],
        )
        self.video_model = transformers.VideoPrismVideoModel(config)

    def attend(self, form: str) -> None:
        """Does nothing: logits have a cap, which no fused attention of PyTorch knows."""
        assert form == "eager", form

    def see(self, video: torch.Tensor) -> torch.Tensor:
        """Unit vectors."""
        return self.video_model(video.permute(0, 1, 4, 2, 3)).pooler_output[:, 0]
