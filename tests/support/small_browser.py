"""Chromium, driven by Playwright; a server of films in a thread; and what axe-core finds."""

import contextlib
import os
import pathlib
import shutil
import threading
import time

import numpy as np
import pytest
import uvicorn
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from tokmerge_jax.configs import demo as demo_config
from tokmerge_jax.data.datasets import demo
from tokmerge_jax.data.datasets.demo import scene
from tokmerge_jax.own_videos.search import index_videos
from tokmerge_jax.serving.app import application
from tokmerge_jax.serving.server import listen
from tokmerge_jax.serving.service import Service

FILMS = ("2024/june/a.mp4", "2024/june/b.mp4", "2024/c.mp4", "<img src=x onerror=alert(1)>.mp4")
STORIES = 4  # of a film, 2 s each


def story(film, place):
    """What a film shows in a place: its number among the demo's test clips."""
    return 20 * FILMS.index(film) + 2 * place


def caption(film, place):
    return scene.caption(demo.stories("test")[story(film, place)])


def write_films(folder):
    """Draws the films, each of several stories."""
    for film in FILMS:
        numbers = [story(film, place) for place in range(STORIES)]
        shown = [scene.draw(demo.stories("test")[number], (2, number)) for number in numbers]
        (folder / film).parent.mkdir(parents=True, exist_ok=True)
        demo.write_clip(folder / film, np.concatenate(shown))


def index_films(videos, place):
    """Encodes the films by the demo's network, in windows of a story."""
    config = demo_config.get_config().override({"data.workers": 0, "eval.batch_size": 8})
    index_videos(config, videos, place, window=2, stride=2)


class Served:
    """A server of an index, which can be stopped and started again at its address."""

    def __init__(self, place):
        self._service, self._port = Service(place), 0
        self.start()

    @property
    def searcher(self):
        return self._service.engine.searcher

    @property
    def address(self):
        return f"http://127.0.0.1:{self._port}/"

    def start(self):
        listening = listen("127.0.0.1", self._port)
        self._port = listening.getsockname()[1]
        self._server = uvicorn.Server(uvicorn.Config(application(self._service), log_level="error"))
        self._thread = threading.Thread(target=self._server.run, args=([listening],))
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def stop(self):
        self._server.should_exit = True
        self._thread.join()


def chromium():
    """The path of the browser; a test without one is skipped, unless one is asked for."""
    asked = os.environ.get("TOKMERGE_CHROMIUM")
    path = asked or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium: install it, or name it by TOKMERGE_CHROMIUM")
    assert pathlib.Path(path).exists(), f"TOKMERGE_CHROMIUM={path}: no such file"
    return path


@contextlib.contextmanager
def browser():
    path, root = chromium(), not os.geteuid()
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"] if root else []
        )
        yield opened
        opened.close()


def faults(page):
    """What axe-core finds: rule and elements."""
    violations = Axe().run(page)["violations"]
    return [(each["id"], [node["target"] for node in each["nodes"]]) for each in violations]
