"""The endless batches of training: each epoch is a new permutation of a data set's rows.

Every batch is a function of its position and the seed, so training can resume at any step with
exactly the batches of an uninterrupted run.
"""

import dataclasses
import functools
import itertools
import sys
from collections.abc import Iterator, Sequence

import numpy as np
from einops import rearrange

from tokmerge_jax.data.datasets import galleries
from tokmerge_jax.data.datasets.galleries import AnyRow, RowSource
from tokmerge_jax.data.video.clips import Decoder
from tokmerge_jax.data.video.workers import Fault, attempt, in_order
from tokmerge_jax.signatures import Augment, Collate
from tokmerge_jax.types import Batch, UserError

_Samples = list[tuple[AnyRow, np.ndarray]]

_ENDLESS = 2**40  # rows
_REPLACEMENTS = 9  # tries for one row; more broken videos in a row are no accident


@dataclasses.dataclass(frozen=True)
class TrainingSource:
    """Videos with captions, with questions and answers, or with actions.

    Attributes:
      rows: a video's path with its texts or label; picklable.
      decoder: reads the frames of a path.
      workers: number of processes that decode.
      replace: whether a random other row replaces one whose video cannot be decoded.
      samples: number of samples per decoded video: the same frames, augmented independently.
      together: number of consecutive rows that stay next to each other in every epoch.
    """

    rows: RowSource[AnyRow]
    decoder: Decoder
    workers: int
    replace: bool = False
    samples: int = 1
    together: int = 1

    def __len__(self) -> int:
        """Largest number of samples in an epoch."""
        return len(self.rows) * self.samples

    def batches(
        self,
        augment: Augment,
        collate: Collate,
        batch_size: int,
        seed: int,
        step: int = 0,
        own: Sequence[int] | None = None,
    ) -> Iterator[Batch]:
        """Yields batches from `step` on, endlessly; each epoch is a new permutation of the rows.

        Rows that are to stay `together` are permuted as one, and those that do not fill an epoch's
        last batch are dropped in that epoch. Sample k of video v is row k V + v, for V videos per
        batch. If n divides V, rows i, i + n, i + 2n, … hold all samples of their videos, as
        gradient accumulation needs.

        Args:
          augment: (uint8 frames [T,H,W,3], generator) -> [T,S,S,3], for action recognition with
            whether the clip was mirrored; picklable.
          collate: rows -> named arrays of their texts or labels.
          batch_size: B, number of samples.
          seed: decides permutations, frames and augmentation.
          step: the number of the first batch.
          own: rows of each batch that this process needs; only their videos are decoded. None =
            all.

        Yields:
          `video` uint8 [B,T,S,S,3] (of `own` rows), and the arrays that `collate` returns.

        Raises:
          UserError: if a batch is larger than the data set or splits a video's samples, or if a
            video cannot be decoded and is not replaced; the message names it.
        """
        self._check(batch_size)
        videos_of_batch = batch_size // self.samples
        own = range(batch_size) if own is None else own
        videos = sorted({row % videos_of_batch for row in own})
        order = _Order(len(self.rows), videos_of_batch, seed, videos, self.together)
        replacements = _REPLACEMENTS if self.replace else 0
        make = _TrainingClips(
            self.rows, order, self.decoder, augment, seed, replacements, self.samples
        )
        clips_of_videos = self._clips(make, step * len(videos))
        while chunk := list(itertools.islice(clips_of_videos, len(videos))):
            samples = dict(zip(videos, chunk, strict=True))
            picked = [samples[row % videos_of_batch][row // videos_of_batch] for row in own]
            rows, clips = zip(*picked, strict=True)
            yield {"video": np.stack(clips), **collate(rows)}

    def _check(self, batch_size: int) -> None:
        """Raises UserError unless a batch consists of whole groups of an epoch's samples."""
        if self.samples < 1 or batch_size % self.samples:
            raise UserError(
                f"config.train.batch_size={batch_size} must be a multiple of"
                f" config.train.samples={self.samples}, which must be at least 1"
            )
        if batch_size > len(self):
            what = "samples" if isinstance(self.rows[0], galleries.ActionRow) else "pairs"
            raise UserError(
                f"config.train.batch_size={batch_size} is more than the {len(self)} training {what}"
            )

    def _clips(self, make: "_TrainingClips", start: int) -> Iterator[_Samples]:
        """Yields the samples at each position from `start` on."""
        places = range(start, _ENDLESS)
        for place, clips in zip(
            places, in_order(make, places, self.workers, make.name), strict=True
        ):
            if isinstance(clips, Fault) and self.replace:  # it ended the process that decoded it
                other = dataclasses.replace(make, first=1)
                (clips,) = in_order(other, [place], min(self.workers, 1), make.name)
            if isinstance(clips, Fault):
                raise UserError(
                    f"{clips.text}; run the same command again to continue from here, or add"
                    " config.data.on_broken=skip to replace broken videos by others"
                )
            yield clips


@dataclasses.dataclass(frozen=True)
class _Order:
    """Maps a place in the endless training sequence to a row number.

    Attributes:
      rows: number of rows.
      batch_size: number of videos of a batch.
      seed: decides the permutations.
      own: positions in every batch that this process decodes.
      together: number of consecutive rows that are permuted as one.
    """

    rows: int
    batch_size: int
    seed: int
    own: Sequence[int]
    together: int

    def place(self, index: int) -> int:
        """The place of the `index`-th video that this process decodes."""
        batch, position = divmod(int(index), len(self.own))
        return batch * self.batch_size + self.own[position]

    def __call__(self, place: int) -> int:
        per_epoch = self.rows // self.batch_size * self.batch_size
        epoch, offset = divmod(int(place), per_epoch)
        return int(_permutation(self.rows, self.together, self.seed, epoch)[offset])


@functools.lru_cache(maxsize=2)
def _permutation(rows: int, together: int, seed: int, epoch: int) -> np.ndarray:
    groups = np.random.default_rng([seed, 0, epoch]).permutation(-(-rows // together))
    order = rearrange(groups * together + np.arange(together)[:, None], "k g -> (g k)")
    return order[order < rows]


@dataclasses.dataclass(frozen=True)
class _TrainingClips:
    """Decodes and augments this process's n-th training video to (row, frames) of each sample."""

    rows: RowSource[AnyRow]
    order: _Order
    decoder: Decoder
    augment: Augment
    seed: int
    replacements: int
    samples: int
    first: int = 0  # 1 = start with a replacement, without trying the row itself

    def name(self, index: int) -> str:
        """The name of this process's n-th video, for messages."""
        return self._name(self.rows[self.order(self.order.place(index))])

    def __call__(self, index: int) -> _Samples:
        place = self.order.place(index)
        rng = np.random.default_rng([self.seed, 1, place])
        row = self.rows[self.order(place)]
        make = functools.partial(self._clips, rng=rng)
        for tried in range(self.replacements):
            if tried >= self.first:
                clips = attempt(make, self._name, row)
                if not isinstance(clips, Fault):
                    return clips
                print(f"\n{clips.text}; another clip replaces it", file=sys.stderr)
            row = self.rows[int(rng.integers(len(self.rows)))]
        return make(row)

    def _name(self, row: AnyRow) -> str:
        return self.decoder.name(row.path)

    def _clips(self, row: AnyRow, rng: np.random.Generator) -> _Samples:
        frames = self.decoder(row.path, rng)
        return [galleries.augmented(row, self.augment, frames, rng) for _ in range(self.samples)]
