"""The original TESTA inside PyTorch, for `driver.py`.

Imports the networks from a checkout of RenShuhuai-Andy/TESTA; needs torch, einops and transformers.
"""

import copy
import pathlib
import types
from importlib import import_module
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.originals.bert import Matching, lend_old_names
from benchmarks.originals.imports import package, stand_in


def _import_networks(checkout: str) -> tuple[Any, Any, Any]:
    """The checkout's `vit`, `med` and patch; encoding needs little of what they import."""
    lend_old_names()
    root = pathlib.Path(checkout)
    for name in ("models", "models.timesformer", "models.timesformer.models", "testa",
                 "testa.patch"):  # fmt: skip
        package(name, root / name.replace(".", "/"))
    activations = "fairscale.nn.checkpoint.checkpoint_activations"
    stand_in(activations, checkpoint_wrapper=None)  # used in training alone
    register = types.SimpleNamespace(register=lambda: lambda kind: kind)
    stand_in("fvcore.common.registry", Registry=lambda name: register)
    vit = import_module("models.timesformer.models.vit")
    return vit, import_module("models.med"), import_module("testa.patch.timesformer")


class Original(Matching):
    """The original's encoders and heads, and its stages as its evaluation runs them."""

    pairs: ClassVar[int] = 16

    def __init__(
        self, checkout: str, job: dict[str, Any], weights: dict[str, torch.Tensor], folder: str
    ) -> None:
        super().__init__()
        del folder
        vit, med, patch = _import_networks(checkout)
        vision, text = job["vision"], job["text"]
        self.visual_encoder = vit.TimeSformer(_vision_settings(vision))
        config = med.BertConfig(**_text_settings(text), encoder_width=vision["width"])
        self.text_encoder = med.BertModel(config, add_pooling_layer=False)
        self.vision_proj = nn.Linear(vision["width"], job["embed_dim"])
        self.text_proj = nn.Linear(text["width"], job["embed_dim"])
        self.itm_head = nn.Linear(text["width"], 2)
        weights = {name: tensor for name, tensor in weights.items() if name != "temp"}
        missing, unknown = self.load_state_dict(weights, strict=False)
        assert not unknown, unknown
        assert all(name.endswith("position_ids") for name in missing), missing
        merging = copy.deepcopy(self.visual_encoder)
        patch.apply_patch(merging, prop_attn=False, merging_type="frame&patch")
        merger = job["merger"]
        merging.r = [merger["frames"], merger["r"]] * vision["depth"]
        self._encoders = {"on": merging, "off": self.visual_encoder}
        self._attentions = vit.Attention, patch.TESTAAttention
        self._eager = [kind.forward for kind in self._attentions]
        self.eval()
        merging.eval()

    def set_up(self, form: str, how: str) -> None:
        """Takes the network with ("on") or without merging, and an attention."""
        self._encoder = self._encoders[how]
        forms = self._eager if form == "eager" else (_fused, _fused_with_keys)
        for kind, forward in zip(self._attentions, forms, strict=True):
            kind.forward = forward

    def see(self, video: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames [B,T,H,W,3] -> tokens, and embeddings of unit norm."""
        tokens = self._encoder(video.permute(0, 4, 1, 2, 3).contiguous())
        return tokens, F.normalize(self.vision_proj(tokens.mean(1)), dim=-1)

    def begin(self, ids: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Embeddings of the words, which begin with [ENC]: matching reads the text anew."""
        del out
        ids = ids.clone()
        ids[:, 0] = self.text_encoder.config.vocab_size - 1
        return self.text_encoder.embeddings(input_ids=ids)

    def final(self, score: torch.Tensor, similarity: torch.Tensor) -> torch.Tensor:
        """The scores that rank candidates: matching score plus cosine."""
        return score + similarity


def _vision_settings(sizes: dict[str, Any]) -> dict[str, Any]:
    return {
        "image_size": sizes["image_size"],
        "patch_size": sizes["patch_size"],
        "num_frames": sizes["frames"],
        "learnable_temporal_scaling": False,
        "attention_type": "divided_space_time",
        "vision_width": sizes["width"],
        "num_heads": sizes["heads"],
        "use_grad_checkpointing": False,
        "vit_ckpt_layer": 0,
    }


def _text_settings(sizes: dict[str, Any]) -> dict[str, Any]:
    return {
        "hidden_size": sizes["width"],
        "num_hidden_layers": sizes["depth"],
        "num_attention_heads": sizes["heads"],
        "intermediate_size": sizes["mlp_width"],
        "vocab_size": sizes["vocab_size"],
        "max_position_embeddings": sizes["max_positions"],
        "add_cross_attention": True,
    }


def _fused(self: Any, x: torch.Tensor) -> torch.Tensor:
    """The fastest form that PyTorch offers."""
    return _fused_with_keys(self, x)[0]


def _fused_with_keys(self: Any, x: torch.Tensor, size: None = None) -> Any:
    assert size is None
    qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
    query, key, value = qkv
    y = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
    return self.proj(y.transpose(1, 2).flatten(2)), key.mean(1)
