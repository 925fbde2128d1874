"""Questions share batches, and get the answers that they would get alone."""

import asyncio
import concurrent.futures
import threading

import pytest

from tokmerge_jax.serving.batching import Batches, FullError


def batches(run, size=4, waiting=100):
    return Batches(run, concurrent.futures.ThreadPoolExecutor(1), size=size, waiting=waiting)


def test_questions_of_a_kind_share_batches_in_order():
    ran = []

    def run(kind, items):
        ran.append((kind, list(items)))
        return [f"{kind}{item}" for item in items]

    async def main():
        asked = batches(run)
        kinds = ["a", "b", "a", "a", "b", "a", "a"]
        answers = await asyncio.gather(
            *(asked.ask(kind, [item]) for item, kind in enumerate(kinds))
        )
        assert answers == [[f"{kind}{item}"] for item, kind in enumerate(kinds)]
        assert asked.count == 3

    asyncio.run(main())
    assert ran == [("a", [0, 2, 3, 5]), ("b", [1, 4]), ("a", [6])]


def test_a_full_queue_refuses_and_recovers():
    begin = threading.Event()

    def run(kind, items):
        begin.wait()
        return items

    async def main():
        asked = batches(run, size=1, waiting=2)
        first = asyncio.create_task(asked.ask("", [0]))
        await asyncio.sleep(0.01)  # it is being answered
        second = asyncio.create_task(asked.ask("", [1, 2]))
        await asyncio.sleep(0)
        with pytest.raises(FullError, match="too many requests are waiting"):
            await asked.ask("", [3])
        begin.set()
        assert await first + await second == [0, 1, 2]
        assert await asked.ask("", [3, 4]) == [3, 4]

    asyncio.run(main())


def test_a_question_that_fails_fails_alone():
    def run(kind, items):
        if "bad" in items:
            raise ValueError(f"{len(items)} asked")
        return items

    async def main():
        asked = batches(run)
        return await asyncio.gather(
            *(asked.ask("", [item]) for item in ("x", "bad", "y")), return_exceptions=True
        )

    first, error, last = asyncio.run(main())
    assert (first, last) == (["x"], ["y"])
    assert isinstance(error, ValueError)
    assert str(error) == "1 asked"


def test_a_request_that_ends_early_leaves_the_others():
    begin = threading.Event()

    def run(kind, items):
        begin.wait()
        return items

    async def main():
        asked = batches(run)
        one, other = (asyncio.create_task(asked.ask("", [item])) for item in (1, 2))
        await asyncio.sleep(0.01)
        one.cancel()
        await asyncio.sleep(0)
        begin.set()
        assert await other == [2]
        assert await asked.ask("", [3]) == [3]

    asyncio.run(main())
