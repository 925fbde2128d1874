"""The original PE-Core inside PyTorch, for `driver.py`: its image transformer alone.

Imports the network from a checkout of facebookresearch/perception_models; needs torch and einops.
"""

import pathlib
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.originals.imports import package, stand_in
from benchmarks.originals.tower import Tower


class Original(Tower):
    """The original's image transformer with its pooling and projection."""

    def build(self, checkout: str, job: dict[str, Any]) -> None:
        """Adds `visual`."""
        stand_in("timm.layers", DropPath=None)  # used in training alone
        stand_in("huggingface_hub", hf_hub_download=None)
        root = pathlib.Path(checkout, "core")
        package("core", root)
        package("core.vision_encoder", root / "vision_encoder")
        vision = job["vision"]
        self.visual = import_module("core.vision_encoder.pe").VisionTransformer(
            patch_size=vision["patch_size"],
            width=vision["width"],
            layers=vision["depth"],
            heads=vision["heads"],
            mlp_ratio=vision["mlp_width"] / vision["width"],
            image_size=vision["image_size"],
            use_cls_token=vision["class_token"],
            output_dim=job["embed_dim"],
        )
        self.attend("eager")

    def attend(self, form: str) -> None:
        """Selects a form of `scaled_dot_product_attention`, which the original itself calls."""
        self._attention = {"eager": SDPBackend.MATH, "fused": SDPBackend.FLASH_ATTENTION}[form]

    def see(self, video: torch.Tensor) -> torch.Tensor:
        """Means of the frames' unit vectors."""
        frames = video.flatten(0, 1).permute(0, 3, 1, 2)
        with sdpa_kernel(self._attention):
            seen = F.normalize(self.visual(frames), dim=-1)
        return seen.unflatten(0, video.shape[:2]).mean(1)
