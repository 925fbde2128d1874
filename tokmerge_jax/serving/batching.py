"""Questions of many requests at a time, answered in batches by one thread."""

import asyncio
import collections
import concurrent.futures
import dataclasses
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Kind = TypeVar("Kind")
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class FullError(Exception):
    """Too many questions are waiting."""

    def __init__(self) -> None:
        super().__init__("too many requests are waiting; try again")


@dataclasses.dataclass(frozen=True)
class _Question(Generic[Kind, Item, Answer]):
    kind: Kind
    item: Item
    answer: asyncio.Future[Answer]


class Batches(Generic[Kind, Item, Answer]):
    """A queue of questions; those of one kind that wait at the same time share a batch.

    Attributes:
      count: number of batches so far.
    """

    def __init__(
        self,
        run: Callable[[Kind, Sequence[Item]], Sequence[Answer]],
        thread: concurrent.futures.ThreadPoolExecutor,
        *,
        size: int,
        waiting: int,
    ) -> None:
        """Takes what answers a batch.

        Args:
          run: returns the answers to some items of a kind.
          thread: where it is called.
          size: number of questions in a batch, at most.
          waiting: number of questions that may wait.
        """
        self._run, self._thread, self._size, self._most = run, thread, size, waiting
        self._waiting = collections.deque[_Question[Kind, Item, Answer]]()
        self._worker: asyncio.Task[None] | None = None
        self.count = 0

    async def ask(self, kind: Kind, items: Sequence[Item]) -> list[Answer]:
        """Returns the answers to some items.

        Raises:
          FullError: if too many questions are waiting.
        """
        if len(self._waiting) + len(items) > self._most:
            raise FullError
        loop = asyncio.get_running_loop()
        questions = [_Question(kind, item, loop.create_future()) for item in items]
        self._waiting.extend(questions)
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._work())
        return await asyncio.gather(*(question.answer for question in questions))

    async def _work(self) -> None:
        while self._waiting:
            batch = self._next()
            for question, answer in zip(batch, await self._answers(batch), strict=True):
                if question.answer.done():  # its request has ended
                    continue
                if isinstance(answer, Exception):
                    question.answer.set_exception(answer)
                else:
                    question.answer.set_result(answer)

    def _next(self) -> list[_Question[Kind, Item, Answer]]:
        """Takes the oldest question and those of its kind."""
        kind = self._waiting[0].kind
        batch = [each for each in self._waiting if each.kind == kind][: self._size]
        for question in batch:
            self._waiting.remove(question)
        return batch

    async def _answers(
        self, batch: Sequence[_Question[Kind, Item, Answer]]
    ) -> Sequence[Answer | Exception]:
        """The answers of a batch; if it fails, each question is asked alone."""
        loop = asyncio.get_running_loop()
        items = [question.item for question in batch]
        self.count += 1
        try:
            return await loop.run_in_executor(self._thread, self._run, batch[0].kind, items)
        except Exception as error:  # whatever it is, its requests get to know it
            if len(batch) == 1:
                return [error]
        return [answer for each in batch for answer in await self._answers([each])]
