"""Times `tokmerge serve` under many requests at a time, in a process of its own.

Example:
  python -m benchmarks.serving --index clips_index

All requests of a round are sent at once, each over a connection of its own, and ask for different
texts. The number of requests lost, median and 99th percentile of their seconds, and requests per
second are printed for each round; the first one starts with a program that is already compiled.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse

import numpy as np

from tokmerge_jax import commands

_WORDS = ("red", "blue", "small", "large", "square", "cross", "moves", "left", "right", "turns")


def main() -> None:
    """Starts the server, asks, and stops it."""
    parser = commands.parser(__doc__)
    parser.add_argument("--index", required=True, help="the folder of an index")
    parser.add_argument("--requests", type=int, default=200, help="number at a time")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds")
    args = parser.parse_args()
    command = [sys.executable, "-m", "tokmerge_jax", "serve", f"--index={args.index}", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = urllib.parse.urlsplit(server.stdout.readline().split()[2])
        for _ in range(args.rounds):
            print(json.dumps(asyncio.run(_timed(address.port or 0, args.requests))), flush=True)
        server.send_signal(signal.SIGTERM)


async def _timed(port: int, count: int) -> dict[str, float]:
    """The figures of a round."""
    begun = time.perf_counter()
    seconds = await asyncio.gather(*(_ask(port, number) for number in range(count)))
    whole = time.perf_counter() - begun
    answered = [each for each in seconds if each is not None]
    figures = {
        "requests": count,
        "lost": count - len(answered),
        "median_s": np.median(answered),
        "p99_s": np.percentile(answered, 99),
        "requests_per_second": len(answered) / whole,
        "load": os.getloadavg()[0],
    }
    return {name: float(f"{value:.3g}") for name, value in figures.items()}


async def _ask(port: int, number: int) -> float | None:
    """Seconds until the answer of a search; None if there is none."""
    begun = time.perf_counter()
    words = np.random.default_rng(number).choice(_WORDS, 5)
    query = urllib.parse.urlencode({"q": " ".join(words), "limit": 10})
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /search?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        hits = json.loads(await reader.readexactly(length))["queries"][0]["hits"]
        writer.close()
    except (OSError, EOFError, ValueError, KeyError):
        return None
    return time.perf_counter() - begun if hits else None


if __name__ == "__main__":
    main()
