"""What the originals share that are timed encoding videos, and in which nothing merges."""

import abc
import copy
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


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
        """Takes an attention ("eager", "fused")."""
        assert how == "off", "the original merges nothing"
        self.attend(form)

    def encode(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Frames [B,T,H,W,3] -> embeddings [B,E]."""
        return self.see(inputs["video"])
