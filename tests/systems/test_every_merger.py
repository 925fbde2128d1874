"""Every merger on every backbone: the table of docs/mergers.md says what runs, and why not."""

import dataclasses
import math
import pathlib
import re
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import pytest

from tokmerge_jax import registry
from tokmerge_jax.config import (
    Config,
    clip,
    internvideo2,
    pe_core,
    tds_clip,
    testa,
    umt,
    videoprism,
)
from tokmerge_jax.merging import merger
from tokmerge_jax.systems.internvideo2 import InternVideo2Tower
from tokmerge_jax.systems.pe_core import PECoreTower
from tokmerge_jax.systems.tds_clip import TDSTower
from tokmerge_jax.systems.tempme import TempMeTower
from tokmerge_jax.systems.towers import Tower
from tokmerge_jax.systems.towers.timesformer import TimeSformerTower
from tokmerge_jax.systems.towers.umt import UMTTower
from tokmerge_jax.systems.vid_tldr.recognition import RecognitionTower
from tokmerge_jax.systems.videoprism import VideoPrismTower
from tokmerge_jax.types import UserError

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "mergers.md"
SMALL = {"width": 16, "heads": 2, "depth": 1, "image_size": 64, "patch_size": 16, "frames": 4}
NAMES = merger.names(("input", "time", *merger.BLOCK))
OF_FRAMES = merger.names(("time",))


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A small network, and the keys of its model that name a merger and its r."""

    tower: type[Tower]
    config: Callable[[], Config]
    keys: Mapping[str, object] = dataclasses.field(default_factory=dict)
    name: str = "merger.name"
    r: str = "merger.r"
    trace: bool = False

    def make(self, name, r):
        keys = {f"vision.{key}": size for key, size in SMALL.items()}
        keys |= {**self.keys, self.name: name, self.r: r}
        keys = {f"model.{key}": value for key, value in keys.items()}
        return self.tower(self.config().override({"dtype": "float32", **keys}))

    def outcome(self, name):
        """A word of the table, after checks of the tokens that are left and of r = 0.

        What cannot be followed is refused before the network runs, and would be when it does.
        """
        tower = self.make(name, (2,))
        video = jnp.zeros((1, 4, 64, 64, 3))

        def run():
            return tower.network.init_with_output(jax.random.key(0), video, trace=self.trace)[0].x

        try:
            layers = tower.merging.cost
        except UserError as error:
            with pytest.raises(UserError, match=f"^{re.escape(str(error))}"):
                jax.eval_shape(run)
            return reason(str(error))
        left = jax.eval_shape(run)
        plain = self.make(PLAIN.get(self.name, "none"), 0).network
        (*_, block) = (layer for layer in layers if "block" in layer.name)
        assert math.prod(left.shape[:-1]) == block.tokens_out
        assert self.make(name, 0).network == plain != tower.network
        return "yes"


REFUSALS = {
    "place": "acts at '(input|before|within|mlp|time)', and here mergers are called at",
    "order": "leaves the patches of each frame in an order of its own",
    "dropped": "dropped tokens cannot be followed",
}


def reason(sentence):
    """The table's word for a refusal."""
    (word,) = (word for word, says in REFUSALS.items() if re.search(says, sentence))
    return word


PLAIN = {"join.within": "tome", "merger.frames_by": ""}
JOINS = {
    "vision.depth": 2,
    "merger.name": "tempme",
    "join.layers": (1,),
    "join.clips": (4,),
    "join.cross": 0.0,
    "join.intra": 0.0,
}

PRISM = {"text.width": 16, "text.heads": 2, "vision.grid": 4, "vision.mlp_width": 32}


def timesformer(attention):
    return Backbone(
        TimeSformerTower, testa.Retrieval, {"vision.attention": attention, "merger.frames": 0}
    )


BACKBONES = {
    "UMT": Backbone(UMTTower, umt.Retrieval),
    "CLIP": Backbone(TempMeTower, clip.Retrieval),
    "TempMe": Backbone(TempMeTower, clip.Retrieval, JOINS, "join.within"),
    "TDS-CLIP": Backbone(TDSTower, tds_clip.Recognition, trace=True),
    "TESTA": timesformer("divided"),
    "TESTA, joint": timesformer("joint"),
    "TESTA, space": timesformer("space"),
    "PE-Core": Backbone(PECoreTower, pe_core.Retrieval, {"vision.grid": 4}),
    "InternVideo2": Backbone(InternVideo2Tower, internvideo2.Retrieval, {"vision.grid": 4}),
    "VideoPrism": Backbone(VideoPrismTower, videoprism.Retrieval, PRISM),
    "VideoPrism, frame": Backbone(
        VideoPrismTower, videoprism.Retrieval, PRISM | {"merger.place": "frame"}, trace=True
    ),
}
FRAMES = Backbone(
    TimeSformerTower, testa.Retrieval, {"merger.r": 0}, "merger.frames_by", "merger.frames"
)


def table():
    """The cells of the table, by merger and backbone."""
    section = PAGE.read_text("utf-8").split("## Every merger on every backbone")[1]
    lines = re.findall(r"^\|(.*)\|$", section.split("\n## ")[0], re.M)
    header, _, *rows = ([cell.strip() for cell in line.split("|")] for line in lines)
    return {
        (name, backbone): cell
        for names, *cells in rows
        for name in re.findall(r"`(\w+)`", names)
        for backbone, cell in zip(header[1:], cells, strict=True)
    }


TABLE = table()


def test_the_table_has_every_merger_and_every_backbone():
    assert {*TABLE} == {(name, backbone) for name in NAMES for backbone in BACKBONES}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_table_says_what_runs(backbone):
    """Each pair is traced, with r = 2; with r = 0 it is the plain network, so it computes that."""
    outcomes = {}
    for name in NAMES:
        frames = backbone == "TESTA" and name in OF_FRAMES
        outcomes[name, backbone] = (FRAMES if frames else BACKBONES[backbone]).outcome(name)
    assert outcomes == {pair: cell for pair, cell in TABLE.items() if pair[1] == backbone}


def test_recognition_runs_what_retrieval_does():
    """UMT without its last norm, and with a head."""
    recognition = Backbone(RecognitionTower, umt.Recognition)
    for name in NAMES:
        assert recognition.outcome(name) == TABLE[name, "UMT"], name


def test_what_the_side_network_cannot_follow_is_refused_when_the_system_is_built():
    """ToFu drops in the first half of its layers alone: in the second half it may merge."""
    config = tds_clip.Recognition()
    depth = config.model.vision.depth
    for name, layers in (("prune", (0,)), ("tofu", (0,)), ("tofu", (0, depth - 1))):
        r = tuple(8 * (layer in layers) for layer in range(depth))
        with pytest.raises(UserError, match="dropped tokens cannot be followed; choose a"):
            registry.build(config.override({"model.merger.name": name, "model.merger.r": r}))
    r = (*[0] * (depth - 1), 8)
    system = registry.build(config.override({"model.merger.name": "tofu", "model.merger.r": r}))
    assert not system.merging.drops
    assert system.merging.schedule.r == r
