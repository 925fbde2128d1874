"""The original vid-TLDR inside PyTorch, for `driver.py`.

Imports the networks from a checkout of mlvlab/vid-TLDR; needs torch, einops and transformers.
"""

import pathlib
import sys
import types
from importlib import import_module
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.originals.bert import Matching, lend_old_names


def _import_networks(checkout: str) -> tuple[Any, Any]:
    """The checkout's `vit` and `xbert` modules; evaluation needs little of what they import."""
    lend_old_names()
    sys.path.insert(0, str(pathlib.Path(checkout) / "multi_modality"))
    xbert = import_module("models.backbones.bert.xbert")
    layers = types.ModuleType("timm.models.layers")
    layers.drop_path = layers.trunc_normal_ = None  # used in training alone
    layers.to_2tuple = lambda x: (x, x)
    for name in ("timm", "timm.models"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["timm.models.layers"] = layers
    return import_module("models.backbones.vit.vit"), xbert


class Original(Matching):
    """The original's encoders and heads, and its stages as its evaluation runs them."""

    fusion: ClassVar[dict[str, str]] = {"mode": "fusion"}

    def __init__(
        self, checkout: str, job: dict[str, Any], weights: dict[str, torch.Tensor], folder: str
    ) -> None:
        super().__init__()
        del folder
        vit, xbert = _import_networks(checkout)
        self.eager = vit.Attention.forward
        self.attention_class = vit.Attention
        vision, text = job["vision"], job["text"]
        self.answers = not job["embed_dim"]
        self.vision_encoder = vit.PretrainVisionTransformer(
            **_vision_settings(vision), add_pool_norm=not self.answers
        )
        config = xbert.BertConfig(**_text_settings(text), encoder_width=vision["width"])
        self.text_encoder = xbert.BertModel(config, add_pooling_layer=False)
        if self.answers:
            deep = text["depth"] - text["fusion_layer"]
            answering = {**config.to_dict(), "num_hidden_layers": deep, "fusion_layer": 0}
            self.text_decoder = xbert.BertLMHeadModel(xbert.BertConfig(**answering))
        else:
            self.vision_proj = nn.Linear(vision["width"], job["embed_dim"])
            self.text_proj = nn.Linear(text["width"], job["embed_dim"])
            self.itm_head = nn.Linear(text["width"], 2)
        self._load(weights)

    def _load(self, weights: dict[str, torch.Tensor]) -> None:
        weights = {name: tensor for name, tensor in weights.items() if name != "temp"}
        missing, unknown = self.load_state_dict(weights, strict=False)
        buffers = ("position_ids", "predictions.decoder.weight", "predictions.decoder.bias")
        assert not unknown, unknown
        assert all(name.endswith(buffers) for name in missing), missing
        if self.answers:  # the output layer is the word table
            head = self.text_decoder.cls.predictions
            head.decoder.weight = self.text_decoder.bert.embeddings.word_embeddings.weight
            head.decoder.bias = head.bias
        self.eval()

    def set_up(self, form: str, r: list[int]) -> None:
        """Switches merging on or off, and takes the eager or the fused attention."""
        info = self.vision_encoder.encoder.info
        info["use"], info["r"] = any(r), r
        self.attention_class.forward = self.eager if form == "eager" else _fused(self.eager)
        for block in self.vision_encoder.encoder.blocks:
            block.attn.merges = any(r) and r[block.i] > 0

    def see(self, video: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames [B,T,H,W,3] -> tokens, and embeddings of unit norm (to answer: first tokens)."""
        frames = video.permute(0, 4, 1, 2, 3).contiguous()
        if self.answers:
            tokens = self.vision_encoder(frames)[0]
            return tokens, tokens[:, :1]
        tokens, pooled, _ = self.vision_encoder(frames)
        return tokens, F.normalize(self.vision_proj(pooled[:, 0]), dim=-1)

    def answer(self, inputs: dict[str, torch.Tensor], k: int) -> torch.Tensor:
        """Scores of a question's best answers, ranked as the original's `rank_answer` does."""
        ids, mask = inputs["text_ids"][:1], inputs["text_mask"][:1].long()
        tokens, answers = inputs["tokens"], inputs["answer_ids"].long()
        seen = torch.ones(tokens.shape[:-1], dtype=torch.long, device=tokens.device)
        states = self.text_encoder(
            ids,
            attention_mask=mask,
            encoder_hidden_states=tokens,
            encoder_attention_mask=seen,
            return_dict=True,
        ).last_hidden_state
        start = self.text_decoder(
            answers[:1, :1],
            encoder_hidden_states=states,
            encoder_attention_mask=mask,
            return_dict=True,
            reduction="none",
        )
        share = F.softmax(start.logits[:, 0], dim=1).index_select(1, answers[:, 1])
        first, kept = share.topk(k, dim=1)
        rows = answers[kept[0]]
        whole = self.text_decoder(
            rows,
            attention_mask=(rows != 0).long(),
            encoder_hidden_states=states.repeat_interleave(k, 0),
            encoder_attention_mask=mask.repeat_interleave(k, 0),
            labels=rows.masked_fill(rows == 0, -100),
            return_dict=True,
            reduction="none",
        )
        return (first[0].log() - whole.loss.view(-1)).topk(k).values


def _vision_settings(sizes: dict[str, Any]) -> dict[str, Any]:
    return {
        "img_size": sizes["image_size"],
        "patch_size": sizes["patch_size"],
        "encoder_embed_dim": sizes["width"],
        "encoder_depth": sizes["depth"],
        "encoder_num_heads": sizes["heads"],
        "num_frames": sizes["frames"],
        "clip_return_layer": 0,
        "vidTLDR_use": False,
        "vidTLDR_r": [],
    }


def _text_settings(sizes: dict[str, Any]) -> dict[str, Any]:
    return {
        "hidden_size": sizes["width"],
        "num_hidden_layers": sizes["depth"],
        "num_attention_heads": sizes["heads"],
        "intermediate_size": sizes["mlp_width"],
        "vocab_size": sizes["vocab_size"],
        "max_position_embeddings": sizes["max_positions"],
        "fusion_layer": sizes["fusion_layer"],
        "cross_module": "ca",
    }


def _fused(eager: Any) -> Any:
    """The fastest form that PyTorch offers where the attention map is not asked for."""

    def forward(self: Any, x: torch.Tensor, size: torch.Tensor | None = None) -> Any:
        if self.merges:
            return eager(self, x, size)
        bias = torch.cat((self.q_bias, torch.zeros_like(self.v_bias), self.v_bias))
        qkv = F.linear(x, self.qkv.weight, bias).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mask = None if size is None else size.log()[:, None, None, :, 0]
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=self.scale)
        return self.proj(y.transpose(1, 2).flatten(2)), None

    return forward
