"""Published numbers of configurations, with their sources."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tokmerge_jax.config.common import Config

Row = Literal["text_to_video", "video_to_text", "both", "all"]
"""The row of a number: text-to-video, video-to-text, the mean of both, or all videos."""

SHORT: Mapping[str, str] = {
    "text_to_video": "T2V ", "video_to_text": "V2T ", "both": "", "all": ""
}  # fmt: skip
"""What stands before a metric's name where a reader sees it."""

UNMERGED: Mapping[str, object] = {"model.merger.name": "none"}
"""Changes for a number that was published without merging."""


@dataclass(frozen=True)
class Source:
    """The source of a number.

    Attributes:
      name: the paper and table, or the repository and file.
      grade: A, the official repository; B, a public leaderboard; C, a later paper of the same
        authors; D, third parties that quote the paper and agree.
    """

    name: str
    grade: Literal["A", "B", "C", "D"]


UMT_ZOO = Source("OpenGVLab/unmasked_teacher, MODEL_ZOO.md", "A")
UMT_ACTIONS = Source("OpenGVLab/unmasked_teacher, single_modality/MODEL_ZOO.md", "A")
SHIFT = Source("Representation Shift (arXiv 2508.00367), table 3", "C")
LEADERBOARD = Source("OpenCodePapers, leaderboard", "B")
TEMPME_REVIEWS = Source("reviews of TempMe (arXiv 2409.01156)", "D")
TDSCLIP_README = Source("BBYL9413/TDS-CLIP, README", "A")
PE_README = Source("facebookresearch/perception_models, README of apps/pe", "A")
VIDEOPRISM_README = Source("google-deepmind/videoprism, README", "A")
INTERNVIDEO2_ZOO = Source("OpenGVLab/InternVideo, multi_modality/MODEL_ZOO.md", "A")
TESTA_README = Source("RenShuhuai-Andy/TESTA, README", "A")


@dataclass(frozen=True)
class Published:
    """A published number of a configuration.

    Attributes:
      row: the row in results.json.
      metric: its name in results.json, such as "R@1", or "harmonic mean of R@1", "R@1/5/10 sum".
      value: the number in per cent, or the sum of three such.
      source: its source.
      changes: key -> value of the configuration that differed there.
    """

    row: Row
    metric: str
    value: float
    source: Source
    changes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Publication:
    """The configuration of a file without overrides, and its published numbers."""

    config: Config
    numbers: tuple[Published, ...] = ()


def recalls(
    source: Source,
    text_to_video: tuple[float, ...],
    video_to_text: tuple[float, ...] = (),
    changes: Mapping[str, object] | None = None,
) -> tuple[Published, ...]:
    """The numbers R@1, R@5 and R@10, or the first ones of them, in one or both directions."""
    directions: dict[Row, tuple[float, ...]] = {
        "text_to_video": text_to_video,
        "video_to_text": video_to_text,
    }
    return tuple(
        Published(row, f"R@{k}", value, source, changes or {})
        for row, values in directions.items()
        for k, value in zip((1, 5, 10), values, strict=False)
    )
