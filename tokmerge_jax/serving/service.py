"""What the API and the tools for assistants both offer: searches, videos, pictures, the state."""

import pathlib
import time
from collections.abc import Sequence
from typing import BinaryIO

import anyio
import numpy as np

from tokmerge_jax import runtime
from tokmerge_jax.own_videos import running
from tokmerge_jax.own_videos.filters import Filter
from tokmerge_jax.own_videos.ranking import Hit
from tokmerge_jax.serving import answers
from tokmerge_jax.serving.catalogue import Reading
from tokmerge_jax.serving.engine import Engine
from tokmerge_jax.serving.files import MissingError, opened
from tokmerge_jax.serving.parameters import Search, Selection, Similar, Still
from tokmerge_jax.serving.thumbnails import Source, thumbnail
from tokmerge_jax.types import UserError

_DECODING = 4  # threads that decode pictures
_FRAMES = 50_000  # of a clip to compare, half an hour; a file may hold millions of tiny ones


class Service:
    """The service of an index.

    Attributes:
      engine: the index.
    """

    def __init__(self, place: pathlib.Path) -> None:
        """Opens the index in `place`; raises as `Engine`."""
        self.engine, self._version = Engine(place), runtime.versions()["tokmerge_jax"]
        self._decoding = anyio.CapacityLimiter(_DECODING)
        self._encoding = anyio.CapacityLimiter(1)  # a small file may hold a picture of 1 GB

    async def search(self, asked: Search) -> answers.Rankings:
        """Finds the moments that fit texts.

        Raises:
          UserError: if a text holds no word, or a day is out of range.
          FullError: if too many questions are waiting.
          UnreadableError: if the index cannot be read.
        """
        begun = time.perf_counter()
        rankings = await self.engine.search(asked.q, asked.end, asked.rerank, asked.where)
        queries = [
            answers.TextRanking(query=text, **vars(self._part(hits, asked)))
            for text, hits in zip(asked.q, rankings, strict=True)
        ]
        return answers.Rankings(queries=queries, seconds=_since(begun))

    async def similar(self, asked: Similar) -> answers.SimilarRanking:
        """Finds the moments that are similar to one; raises as `search`.

        Raises:
          MissingError: if the index does not hold the moment.
        """
        path, where = await self._path(asked.id), asked.where
        hit = Hit(path, asked.start, asked.stop, duration=asked.stop, cosine=0.0, score=None)
        try:
            return await self._similar(hit, asked, where)
        except UserError as error:
            raise MissingError("the index holds no such moment; search again") from error

    async def similar_to_file(self, file: pathlib.Path, asked: Selection) -> answers.SimilarRanking:
        """Finds the moments that are similar to a video or picture; raises as `search`.

        Raises:
          UserError: also if the file cannot be decoded, or has too many frames.
        """
        embedding = await anyio.to_thread.run_sync(
            self.engine.searcher.encoded, str(file), _FRAMES, limiter=self._encoding
        )
        return await self._similar(embedding, asked, asked.where)

    async def _similar(
        self, source: Hit | np.ndarray, asked: Selection, where: Filter
    ) -> answers.SimilarRanking:
        begun = time.perf_counter()
        hits = await self.engine.similar(source, asked.end, where)
        return answers.SimilarRanking(**vars(self._part(hits, asked)), seconds=_since(begun))

    def _part(self, hits: Sequence[Hit], asked: Selection) -> answers.Ranking:
        """The hits that were asked for, and whether there are more."""
        moments = [
            answers.moment(hit, self.engine.catalogue.name(hit.path))
            for hit in hits[asked.offset : asked.end]
        ]
        return answers.Ranking(hits=moments, more=len(hits) > asked.end)

    async def video(self, name: str) -> tuple[str, BinaryIO]:
        """Returns the path of the video with an ID below the indexed folder, and its file, open.

        Raises:
          MissingError: if there is none inside the indexed folder.
        """
        path = await self._path(name)
        return path, await anyio.to_thread.run_sync(opened, self.engine.searcher.folder, path)

    async def _path(self, name: str) -> str:
        path = await anyio.to_thread.run_sync(self.engine.catalogue.path, name)
        if path is None:
            raise MissingError("the index holds no such video; search again")
        return path

    async def picture(self, file: BinaryIO, asked: Still) -> bytes:
        """Returns a frame of an open video as JPEG.

        Raises:
          MissingError: if it cannot be decoded.
        """
        try:
            return await anyio.to_thread.run_sync(
                thumbnail, Source.of(file), asked.at, asked.width, limiter=self._decoding
            )
        except UserError as error:
            raise MissingError("the video cannot be decoded") from error

    def _held(self) -> tuple[Reading, tuple[str, ...]]:
        """What the index holds, and its folders, which take a while the first time."""
        held = self.engine.catalogue.reading()
        return held, held.folders

    async def health(self) -> answers.Health:
        """The state of the index.

        Raises:
          UserError: if it is damaged.
        """
        held, folders = await anyio.to_thread.run_sync(self._held)
        progress = running.read(self.engine.place)
        return answers.Health(
            status="ready" if held.windows else "empty",
            videos=held.videos,
            windows=held.windows,
            broken=held.broken,
            system=self.engine.system,
            reranks=self.engine.searcher.reranked > 0,
            version=self._version,
            folders=[*map(answers.text, folders)],
            indexing=None if progress is None else answers.Progress(**progress),
        )


def _since(begun: float) -> float:
    return round(time.perf_counter() - begun, 4)
