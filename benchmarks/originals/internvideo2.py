"""The original InternVideo2-CLIP inside PyTorch, for `driver.py`: its video transformer alone.

Imports the network from a checkout of OpenGVLab/InternVideo; needs torch and einops. Timed is its
form without flash-attention, which needs a GPU, but with the GELU of flash-attention's MLP.
"""

import pathlib
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.originals.imports import package, stand_in
from benchmarks.originals.tower import Tower

_FOLDER = "InternVideo2/multi_modality/models/backbones/internvideo2"


class Original(Tower):
    """The original's video transformer with its pooling and projection."""

    def build(self, checkout: str, job: dict[str, Any]) -> None:
        """Adds `vision_encoder` and `vision_align`."""
        networks, vision = _import_networks(checkout), job["vision"]
        self.vision_encoder = networks.InternVideo2(
            patch_size=vision["patch_size"],
            img_size=vision["image_size"],
            drop_path_rate=0.0,
            embed_dim=vision["width"],
            num_heads=vision["heads"],
            mlp_ratio=4,
            init_values=0.1,
            depth=vision["depth"],
            use_flash_attn=False,
            use_fused_rmsnorm=False,
            use_fused_mlp=False,
            attn_pool_num_heads=job["pool_heads"],
            clip_embed_dim=job["pool_width"],
            layerscale_no_force_fp32=True,
            num_frames=vision["frames"],
        )
        for block in self.vision_encoder.blocks:
            block.mlp.act = nn.GELU(approximate="tanh")
        self.vision_align = nn.Sequential(
            nn.LayerNorm(job["pool_width"]), nn.Linear(job["pool_width"], job["embed_dim"])
        )
        self._attention, self._eager = networks.Attention, networks.Attention._naive_attn

    def attend(self, form: str) -> None:
        """Takes the eager attention, or in place of flash-attention PyTorch's fused one."""
        self._attention._naive_attn = self._eager if form == "eager" else _fused

    def see(self, video: torch.Tensor) -> torch.Tensor:
        """Unit vectors."""
        pooled = self.vision_encoder(video.permute(0, 4, 1, 2, 3).contiguous())
        return F.normalize(self.vision_align(pooled), dim=-1)


def _import_networks(checkout: str) -> Any:
    """The checkout's module of the transformer; encoding needs little of what it imports."""
    stand_in("timm.models.registry", register_model=None)
    stand_in(
        "timm.models.layers",
        DropPath=None,
        to_2tuple=lambda x: (x, x),
        trunc_normal_=nn.init.trunc_normal_,
    )
    stand_in("flash_attn.modules.mlp", FusedMLP=None)
    stand_in("flash_attn.ops.rms_norm", DropoutAddRMSNorm=None)
    stand_in("internvideo2.flash_attention_class", FlashAttention=None)
    package("internvideo2", pathlib.Path(checkout, _FOLDER))
    return import_module("internvideo2.internvideo2_clip_vision")


def _fused(self: Any, x: torch.Tensor) -> torch.Tensor:
    """The fastest form that PyTorch offers."""
    query, key, value = self.qkv(x).chunk(3, dim=-1)
    heads = (
        part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        for part in (self.q_norm(query), self.k_norm(key), value)
    )
    y = F.scaled_dot_product_attention(*heads, scale=self.scale)
    return self.proj(y.transpose(1, 2).flatten(2))
