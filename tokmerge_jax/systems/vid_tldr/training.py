"""What the trainings of UMT's systems share: AdamW, with a rate for the video transformer."""

from collections.abc import Callable
from functools import partial

from tokmerge_jax.config import umt
from tokmerge_jax.signatures import Collate, Loss
from tokmerge_jax.system import Training
from tokmerge_jax.training import optimizer

_BACKBONE = "vision/"


def record(
    train: umt.Training,
    loss: Loss,
    collate: Collate,
    share: Callable[[str], float] = lambda name: 1.0,
) -> Training:
    """Makes the record of a training by AdamW.

    The video transformer learns at `train.backbone_rate` times the rate of the rest; at 0 it stays
    as it is, so that texts are learned for finished video features (as LiT, CVPR 2022, section 3).

    Args:
      train: the configuration's part.
      loss: the loss.
      collate: training rows -> the arrays that the loss needs beside the videos.
      share: a parameter's name -> its share of the learning rate beside `train.backbone_rate`.
    """

    def rate_share(name: str) -> float:
        return share(name) * (train.backbone_rate if name.startswith(_BACKBONE) else 1.0)

    adamw = partial(optimizer.adamw, weight_decay=train.weight_decay, rate_share=rate_share)
    trainable = () if train.backbone_rate else (f"^(?!{_BACKBONE})",)
    return Training(loss, collate, adamw, trainable)
