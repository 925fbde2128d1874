"""What the originals share that are timed encoding videos, and in which nothing merges."""

import abc
import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

_linear = F.linear


class Tower(nn.Module, abc.ABC):
    """The video side of an original, with our weights, which must be all that it has."""

    def __init__(
        self, checkout: str, job: dict[str, Any], weights: dict[str, torch.Tensor], folder: str
    ) -> None:
        super().__init__()
        del folder
        self.build(checkout, job)
        parts = dict(self.named_children())
        self.load_state_dict({n: x for n, x in weights.items() if n.split(".")[0] in parts})
        self.eval()
        self._count(job)

    def _count(self, job: dict[str, Any]) -> None:
        """Checks, without computing, that a clip takes the multiply-accumulates that ours says."""
        frames, size = job["vision"]["frames"], job["vision"]["image_size"]
        video = torch.empty(1, frames, size, size, 3, device="meta")
        with FlopCounterMode(display=False) as counter:
            copy.deepcopy(self).to("meta").see(video)
        macs = counter.get_total_flops() // 2
        assert macs == job["macs"], f"{macs} multiply-accumulates, not {job['macs']}"

    @abc.abstractmethod
    def build(self, checkout: str, job: dict[str, Any]) -> None:
        """Adds the networks, with the names that their checkpoints have."""

    @abc.abstractmethod
    def attend(self, form: str) -> None:
        """Takes the eager or the fused attention."""

    @abc.abstractmethod
    def see(self, video: torch.Tensor) -> torch.Tensor:
        """Frames [B,T,H,W,3] -> embeddings [B,E], as the original's evaluation compares them."""

    def set_up(self, form: str, how: str) -> None:
        """Takes an attention ("eager", "fused"), and oneDNN for linear layers if the form says so.

        PyTorch itself takes MKL, which needs twice the time on AMD's processors with AVX-512.
        """
        assert how == "off", "the original merges nothing"
        attention, _, products = form.partition(", ")
        self.attend(attention)
        F.linear = _onednn if products == "oneDNN" else _linear

    def encode(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Frames [B,T,H,W,3] -> embeddings [B,E]."""
        return self.see(inputs["video"])


def _onednn(
    input: torch.Tensor,  # the name in `linear`
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")
