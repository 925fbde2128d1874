"""An index of drawn clips whose embeddings are chosen by hand, and requests to a server of it."""

import asyncio
import dataclasses
import json
import urllib.parse

import numpy as np

from tokmerge_jax import checkpoints, evaluation, registry
from tokmerge_jax.configs import demo as demo_config
from tokmerge_jax.data.datasets import demo
from tokmerge_jax.data.datasets.demo import scene
from tokmerge_jax.data.video import folder as folders
from tokmerge_jax.own_videos import search, settings
from tokmerge_jax.own_videos.index import Index
from tokmerge_jax.own_videos.windows import Window
from tokmerge_jax.system import Retrieval

CLIPS = ("a.mp4", "b.mp4", "2024/june/c.mp4", "2024/d é.mp4")
SECONDS = 2.0


def write_clips(folder):
    """Draws the clips, and a file that is none."""
    for number, name in enumerate(CLIPS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        demo.write_clip(folder / name, scene.draw(demo.stories("test")[number], (2, number)))
    (folder / "broken.mkv").write_text("no video")


def make_index(videos, place, seed=0):
    """Writes the index: two windows of the first clip and one of the others, drawn embeddings."""
    system = registry.build(demo_config.get_config().override({"data.workers": 0}))
    retrieval, system = system.task(Retrieval), settings.portable(system)
    params = checkpoints.load_checkpoint(system.config.checkpoint, system)
    shapes = search._shapes(system, params)
    chosen = {"window": 8.0, "stride": 4.0, "tokens": retrieval.matching is not None}
    facts = {**evaluation.model_facts(system, params), **chosen}
    about = {"config": system.config.to_dict(), "videos": str(videos)}
    index, files = Index(place, facts, shapes, about), folders.find(videos)
    windows = [Window(name, 0.0, SECONDS, SECONDS, 16, True) for name in CLIPS[1:]]
    windows += [Window(CLIPS[0], at, at + 1, SECONDS, 16, at == 1) for at in (0.0, 1.0)]
    rng = np.random.default_rng(seed)
    numbers = {
        name: rng.standard_normal((len(windows), *shape), np.float32)
        for name, shape in shapes.items()
    }
    numbers["embedding"] /= np.linalg.norm(numbers["embedding"], axis=-1, keepdims=True)
    numbers["sizes"] = np.ones(numbers["tokens"].shape[:2], np.float32)
    index.add(windows, files, numbers)
    index.refuse("broken.mkv", files["broken.mkv"], "broken.mkv: cannot be decoded")
    return index


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a server answers."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


async def send(
    app, target, method="GET", headers=None, body=b"", client="tester", ends_early=False
):
    """Sends a request as uvicorn passes it on, whatever its address and headers hold."""
    raw, _, query = target.encode().partition(b"?")
    given = {"host": "localhost:8000", "content-length": str(len(body)), **(headers or {})}
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        "method": method, "scheme": "http", "path": urllib.parse.unquote(raw.decode()),
        "raw_path": raw, "query_string": query, "root_path": "", "client": (client, 1),
        "server": ("127.0.0.1", 8000),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
    }  # fmt: skip
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    if ends_early:
        messages = [{"type": "http.disconnect"}, {**messages[0], "more_body": True}]
    sent, waiting = [], asyncio.Event()

    async def receive():
        if messages:
            return messages.pop()
        await waiting.wait()

    async def keep(message):
        sent.append(message)

    await app(scope, receive, keep)
    start = sent[0]
    fields = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], fields, b"".join(each.get("body", b"") for each in sent))


async def send_all(app, targets, **how):
    """Sends requests at the same time."""
    return await asyncio.gather(*(send(app, target, **how) for target in targets))


def spans(hits):
    """What tells the hits of an answer apart."""
    return [(hit["path"], hit["start"], hit["stop"], hit["cosine"], hit["score"]) for hit in hits]


def expected(hits):
    """The same of the hits of a searcher."""
    return [(hit.path, hit.start, hit.stop, hit.cosine, hit.score) for hit in hits]
