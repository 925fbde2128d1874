"""An index of drawn clips whose embeddings are chosen by hand, and requests to a server of it."""

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
    index.add(windows, files, numbers)
    index.refuse("broken.mkv", files["broken.mkv"], "broken.mkv: cannot be decoded")
    return index
