"""The original TDS-CLIP inside PyTorch, for `driver.py`.

Imports the network from a checkout of BBYL9413/TDS-CLIP; needs torch and einops.
"""

import contextlib
import pathlib
import sys
import types
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel


class Original:
    """The original's network, and its stages as its test_vision.py and train_vision.py run them."""

    def __init__(
        self, checkout: str, job: dict[str, Any], weights: dict[str, torch.Tensor], folder: str
    ) -> None:
        del folder
        package: Any = types.ModuleType("clip")  # the checkout's `clip` would import more packages
        package.__path__ = [str(pathlib.Path(checkout) / "clip")]
        sys.modules["clip"] = package
        with contextlib.redirect_stdout(sys.stderr):  # the checkout prints; answers go to stdout
            self._model = _Network(import_module("clip.model").VisualTransformer, job)
        missing, unknown = self._model.load_state_dict(weights, strict=False)
        assert not unknown, unknown
        assert all(name.endswith("num_batches_tracked") for name in missing), missing
        for name, parameter in self._model.named_parameters():
            parameter.requires_grad_("side" in name or "visual" not in name)
        for module in self._model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                module.momentum = 0.0  # training does not change running statistics
        # So small a rate that a step leaves the weights as they are, and takes its time.
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=1e-12, weight_decay=0.15)

    def set_up(self, form: str, how: str) -> None:
        """Selects the attention of PyTorch 1 ("eager") or 2 ("fused")."""
        assert how == "off", "the original merges nothing"
        self._attention = {"eager": SDPBackend.MATH, "fused": SDPBackend.FLASH_ATTENTION}[form]

    def encode(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Frames [B,TM,H,W,3] -> logits."""
        self._model.eval()
        with sdpa_kernel(self._attention):
            return self._model(inputs["video"])

    def evaluate(self, inputs: dict[str, torch.Tensor], clips: int) -> torch.Tensor:
        """Probabilities [V,K] of a gallery's actions, by one view of each video."""
        device = self._model.fc.weight.device
        batches = inputs["gallery"].split(clips)
        return torch.cat([self.encode({"video": x.to(device)}).softmax(-1) for x in batches])

    def train(self, inputs: dict[str, torch.Tensor], batch: int) -> torch.Tensor:
        """The loss of one step of training."""
        self._model.train()
        with sdpa_kernel(self._attention):
            logits = self._model(inputs["videos"][:batch])
            loss = F.cross_entropy(logits, inputs["label"][:batch].long(), label_smoothing=0.1)
            loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad()
        return loss.detach()


class _Network(nn.Module):
    """The original's transformer with its side network, and a classifier: `VideoCLIP`."""

    def __init__(self, transformer: Any, job: dict[str, Any]) -> None:
        super().__init__()
        vision, width = job["vision"], job["side"]["width"]
        self._frames = vision["frames"]
        self.visual = transformer(
            input_resolution=vision["image_size"],
            patch_size=vision["patch_size"],
            width=vision["width"],
            layers=vision["depth"],
            heads=vision["heads"],
            output_dim=0,  # no projection
            T=vision["frames"],
            side_dim=width,
        )
        self.fc = nn.Linear(width, job["classes"])

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        """The neighbours of each frame lie beside it as channels."""
        frames = video.permute(0, 1, 4, 2, 3).unflatten(1, (self._frames, -1))
        return self.fc(self.visual(frames.flatten(2, 3).flatten(0, 1)))
