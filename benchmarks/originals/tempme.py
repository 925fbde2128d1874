"""The original TempMe inside PyTorch, for `driver.py`.

Imports the network from a checkout of LunarShen/TempMe; needs torch.
"""

import pathlib
import sys
import types
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F

_BACKBONES = {32: "ViT-B/32", 16: "ViT-B/16"}


class Original:
    """The original with and without merging, and its stages as its main.py runs them."""

    def __init__(
        self, checkout: str, job: dict[str, Any], weights: dict[str, torch.Tensor], folder: str
    ) -> None:
        """Builds both networks from the same weights; LoRA stays apart, as in the original."""
        sys.path.insert(0, checkout)
        layers = types.ModuleType("timm.models.layers")
        layers.drop_path = None  # imported, and not used
        for name in ("timm", "timm.models"):
            sys.modules[name] = types.ModuleType(name)
        sys.modules["timm.models.layers"] = layers
        self._modeling = import_module("tvr.models.modeling")
        self._adam = import_module("tvr.models.optimization_adamw").AdamW
        self._vision = import_module("tvr.models.module_tome_patch").ToMeAttention
        self._text = import_module("tvr.models.module_transformer").Attention
        self._eager = self._vision.forward, self._text.forward
        file = pathlib.Path(folder) / "init.process_group"
        torch.distributed.init_process_group("gloo", f"file://{file}", rank=0, world_size=1)
        backbone = _BACKBONES[job["vision"]["patch_size"]]
        clip = {name[5:]: x for name, x in weights.items() if "TVPt" not in name}
        torch.save(clip, pathlib.Path(folder) / self._modeling._PT_NAME[backbone])
        join = job["join"]
        percent, layers = (join["cross"], join["intra"]), join["layers"]
        on = {"layers": layers, "clips": join["clips"], "percent": percent, "r": job["merger"]["r"]}
        off = {"layers": layers, "clips": [1] * len(join["clips"]), "percent": (0, 0), "r": 0}
        self._models = {
            name: self._build(job, backbone, folder, weights, **arguments)
            for name, arguments in (("on", on), ("off", off))
        }

    def _build(
        self,
        job: dict[str, Any],
        backbone: str,
        folder: str,
        weights: dict[str, torch.Tensor],
        *,
        layers: list[int],
        clips: list[int],
        percent: tuple[float, float],
        r: int,
    ) -> tuple[Any, Any]:
        """A network and its optimiser, over what the original trains."""

        def joined(numbers: Any) -> str:
            return "-".join(str(int(n)) for n in numbers)

        args = types.SimpleNamespace(
            base_encoder=backbone,
            pretrained_path=folder,
            lora_dim=job["lora_rank"],
            merge_layer=joined(layers),
            merge_frame_num=joined(clips),
            merge_token_proportion=joined(percent),
            frame_pos=1,
            tome_r=r,
            tome_tracesource=False,
            tome_propattn=True,
            max_frames=job["vision"]["frames"],
            world_size=1,
            rank=0,
            local_rank=0,
            distributed=0,
            device=job["device"],
        )
        model = self._modeling.VTRModel(args).float()
        own = model.state_dict()
        fitting = {n: x for n, x in weights.items() if own[n].shape == x.shape}
        assert all("Positional" in n for n in weights.keys() - fitting.keys())
        model.load_state_dict(fitting, strict=False)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("TVPt" in name)
        trained = [p for p in model.parameters() if p.requires_grad]
        # So small a rate that a step leaves the weights as they are, and takes its time.
        return model, self._adam([{"params": trained, "lr": 1e-12}], weight_decay=0.2)

    def set_up(self, form: str, how: str) -> None:
        """Takes the network with ("on") or without merging, and an attention."""
        self._model, self._optimizer = self._models[how]
        forms = self._eager if form == "eager" else (_fused_vision, _fused_text)
        self._vision.forward, self._text.forward = forms

    def encode(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Frames [B,T,H,W,3] -> embeddings of unit norm."""
        self._model.eval()
        video = inputs["video"]
        mask = torch.ones(video.shape[:2], device=video.device)
        seen = self._model.get_video_feat(video.flatten(0, 1).permute(0, 3, 1, 2), mask)
        return F.normalize(seen, dim=-1)

    def text(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Token ids [Q,L] -> embeddings of unit norm."""
        self._model.eval()
        ids, mask = inputs["text_ids"].long(), inputs["text_mask"].long()
        return F.normalize(self._model.get_text_feat(ids, mask), dim=-1)

    def evaluate(self, inputs: dict[str, torch.Tensor], clips: int) -> torch.Tensor:
        """Similarities [V,Q] of a gallery."""
        words = self.text(inputs)
        batches = inputs["gallery"].split(clips)
        seen = [self.encode({"video": part.to(words.device)}) for part in batches]
        return torch.cat(seen) @ words.T

    def train(self, inputs: dict[str, torch.Tensor], batch: int) -> torch.Tensor:
        """The loss of one step of training."""
        self._model.train()
        video = inputs["videos"].permute(0, 1, 4, 2, 3)
        ids, mask = (inputs[name][:batch].long() for name in ("text_ids", "text_mask"))
        loss = self._model(ids, mask, video, torch.ones(video.shape[:2], device=video.device))
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        return loss.detach()


def _fused_vision(self: Any, x: torch.Tensor, size: torch.Tensor | None = None) -> Any:
    """The fastest form that PyTorch offers of attention with token sizes."""
    query, key, value = _projected(self, x)
    mask = None if size is None else size.log()[:, None, None, :, 0]
    y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return F.linear(y.transpose(1, 2).flatten(2), self.out_proj.weight, self.out_proj.bias), (
        key.mean(1)
    )


def _fused_text(self: Any, x: torch.Tensor, attn_mask: torch.Tensor | None = None) -> Any:
    query, key, value = _projected(self, x)
    mask = None if attn_mask is None else attn_mask[:, None]
    y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return F.linear(y.transpose(1, 2).flatten(2), self.out_proj.weight, self.out_proj.bias)


def _projected(self: Any, x: torch.Tensor) -> Any:
    qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
    qkv = qkv + F.linear(F.linear(x, self.TVPt_LoRA_a), self.TVPt_LoRA_b)
    return qkv.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
