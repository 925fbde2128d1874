"""The demo of `tokmerge serve`: `search.py draw FOLDER`, `search.py open INDEX [PICTURE.png]`.

`draw` draws films, each of several of the demo's test clips. `open` serves an index of them, opens
the page as a browser does, searches for every clip of every film by its caption, and stops. With a
name for a picture, Chromium opens the page, too, and its picture is written there.
"""

import contextlib
import io
import json
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tokmerge_jax.data.datasets import demo
from tokmerge_jax.data.datasets.demo import scene

FOLDERS = ("2024/june", "2024/july", "holiday")
FILMS, CLIPS = 12, 8  # and clips of each film
SECONDS = 2  # of a clip

_TOGETHER = 16  # texts of a request


def name(film: int) -> str:
    """The path of a film below the folder of all."""
    return f"{FOLDERS[film % len(FOLDERS)]}/film {film + 1:02}.mp4"


def draw(folder: str) -> None:
    """Draws the films."""
    for film in range(FILMS):
        numbers = range(CLIPS * film, CLIPS * (film + 1))
        clips = [scene.draw(demo.stories("test")[n], (demo.SEEDS["test"], n)) for n in numbers]
        path = pathlib.Path(folder, name(film))
        path.parent.mkdir(parents=True, exist_ok=True)
        demo.write_clip(path, np.concatenate(clips))
    print(f"{folder}: {FILMS} films of {CLIPS * SECONDS} s")


@contextlib.contextmanager
def served(index: str) -> Iterator[str]:
    """Starts the server, gives its address, and stops it."""
    command = [sys.executable, "-m", "tokmerge_jax", "serve", f"--index={index}", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            said = server.stdout.readline()
            yield re.findall(r"http://\S+/", said)[0]
        finally:
            server.terminate()


def get(address: str, **headers: str) -> bytes:
    """The content at an address."""
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
        return answer.read()


def open_page(address: str) -> int:
    """Reads the page, the files that it names and those that they name; returns their number."""
    todo, read = [address], set[str]()
    while todo:
        file = todo.pop()
        if file not in read:
            text = get(file).decode()
            named = re.findall(r'(?:src="|href="|from ")(/page/[^"]+|\./[^"]+)"', text)
            todo += [urllib.parse.urljoin(file, name) for name in named]
            read.add(file)
    return len(read)


def ranks(address: str) -> Iterator[int]:
    """The place of every clip in the ranking for its caption, from 1 on; 0 if it is not there."""
    texts = [scene.caption(story) for story in demo.stories("test")[: FILMS * CLIPS]]
    for first in range(0, len(texts), _TOGETHER):
        asked = [("q", text) for text in texts[first : first + _TOGETHER]] + [("rerank", "true")]
        answer = json.loads(get(f"{address}search?{urllib.parse.urlencode(asked)}"))
        for number, ranking in enumerate(answer["queries"], first):
            yield rank(ranking["hits"], number)


def rank(hits: list[dict], number: int) -> int:
    """The place of the first hit that shows the middle of a clip; 0 if none does."""
    film, middle = name(number // CLIPS), (number % CLIPS + 0.5) * SECONDS
    right = [hit["path"] == film and hit["start"] <= middle <= hit["stop"] for hit in hits]
    return right.index(True) + 1 if any(right) else 0


def picture(address: str, file: str) -> None:
    """Writes what Chromium shows of a search."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 680})
        page.goto(f"{address}?q=a+large+red+circle+moves+left")
        page.wait_for_load_state("networkidle")
        shown = Image.open(io.BytesIO(page.screenshot()))
        browser.close()
    shown.convert("RGB").quantize(256).save(file, optimize=True)


def main() -> None:
    """Draws, or opens."""
    action, place, *files = sys.argv[1:]
    if action == "draw":
        draw(place)
        return
    with served(place) as address:
        print(f"{address} is open: a page of {open_page(address)} files")
        for file in files:
            picture(address, file)
        places = [*ranks(address)]
    share = 100 * places.count(1) / len(places)
    results = {"clips": len(places), "first": share}
    pathlib.Path(place, "results.json").write_text(json.dumps(results))
    print(f"Clips that come first for their captions: {share:.0f} % of {len(places)}")
    print(f"To search by yourself: tokmerge serve --index {place}")


if __name__ == "__main__":
    main()
