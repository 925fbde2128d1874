"""The figures of benchmarks/stages.py: rates, shares, medians, memory, and the stages' sizes."""

import dataclasses

import av
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import flagsaver
from small_system import PIXELS, system_of

from benchmarks import decoding, figures, peer, stages, tables, training
from benchmarks.cases import Case, Sizes, Timed, program_bytes
from benchmarks.encoding import ceiling
from benchmarks.inputs import make_inputs
from tokmerge_jax import registry
from tokmerge_jax.config import Config, clip, tds_clip, testa, umt
from tokmerge_jax.system import System, Weights
from tokmerge_jax.tasks.synthetic import clip_macs
from tokmerge_jax.types import LayerCost, UserError

TERA = 10**12


def case(stage, way, seconds, output=(1.0, 2.0), peak=None, **more):
    """A case whose runs take `seconds`, the first to warm up."""
    left = iter(seconds)
    return Case(stage, way, lambda: Timed(next(left), np.array(output), peak), **more)


@pytest.fixture
def rows():
    cases = [
        case("ceiling", "products", [9, 1, 1, 2], macs=2 * TERA, compile_seconds=0.5),
        case("encode", "ours", [9, 4, 2, 3], macs=3 * TERA, clips=6, peak_bytes=2**20),
        case("encode", "original", [1, 6, 8, 4], (1.0, 2.2), 2**21, macs=3 * TERA, clips=6),
        case("rank", "a part", [0.7, 0.5, 0.25, 0.5], macs=TERA, runs=8, compiles=True),
        case("decode", "ours", [2, 2, 2, 2], clips=4),
    ]
    *_, last = figures.report(cases, rounds=3)
    return last


def test_the_median_without_the_first_run_is_reported_for_the_whole_job(rows):
    assert [row["seconds"] for row in rows] == [1, 3, 6, 4, 2]
    assert (rows[1]["fastest"], rows[1]["slowest"]) == (2, 4)
    assert rows[1]["rounds"] == [4, 2, 3]
    assert rows[3]["timed_share"] == 1 / 8


def test_rates_and_shares(rows):
    assert [row["clips_per_second"] for row in rows] == [None, 2, 1, None, 2]
    assert [row["tflops"] for row in rows] == [4, 2, 1, 4, None]
    assert [row["share_of_ceiling"] for row in rows] == [1, 0.5, 0.25, 1, None]
    assert [row["gmac"] for row in rows] == [2000, 3000, 3000, 8000, None]
    assert [row["times_first"] for row in rows] == [1, 1, 2, 1, 1]


def test_the_first_way_of_a_stage_is_what_results_are_compared_with(rows):
    differences = [row["difference"] for row in rows]
    assert differences == pytest.approx([0, 0, 0.1, 0, 0])


def test_memory_and_compiling_are_reported_where_they_are_known(rows):
    assert [row["peak_bytes"] for row in rows] == [None, 2**20, 2**21, None, None]
    compiling = [row["compile_seconds"] for row in rows]
    assert compiling[:3] == [0.5, None, None]
    assert compiling[3] == pytest.approx(0.2)  # of the one run, which is a part


def test_figures_have_three_digits_in_the_table(rows):
    rows[0].update(tflops=0.012345, clips_per_second=1234.5)
    view = tables.table(rows, "b16, ours in bfloat16")
    assert view.title == "b16, ours in bfloat16"
    cells = [list(column.cells) for column in view.columns]
    assert cells[0] == ["ceiling", "encode", "", "rank", "decode"]
    assert cells[2] == ["1230", "2", "1", "-", "2"]
    assert cells[3] == ["0.0123", "2", "1", "4", "-"]
    assert cells[5] == ["-", "1", "2", "-", "-"]


def test_a_program_holds_arguments_results_and_nothing_twice():
    x = jnp.zeros(1024, jnp.float32)
    assert program_bytes(jax.jit(jnp.negative).lower(x).compile()) == 8192
    assert program_bytes(jax.jit(jnp.negative, donate_argnums=0).lower(x).compile()) == 4096


def test_the_original_has_its_own_products_and_no_compiling():
    request = {"stage": "encode", "form": "eager"}
    ours = case(
        "encode", "ours", [1], macs=5, compiles=True, peak_bytes=3, original_macs=7,
        requests={"original, eager": request},
    )  # fmt: skip
    asked = []

    def ask(**request):
        asked.append(request)
        return Timed(2.0, np.zeros(1))

    (original,) = peer.original_cases([ours, case("text", "ours", [])], ask)
    assert original.run().seconds == 2
    assert asked == [request]
    assert (original.way, original.macs, original.compiles) == ("original, eager", 7, False)
    assert original.peak_bytes is None


@pytest.mark.parametrize("given", ["0", "1,x", "", "2,-1"])
def test_clips_that_are_no_counts_are_refused(given):
    with flagsaver.as_parsed(clips=given), pytest.raises(UserError, match=r"--clips=.*1,8,32"):
        stages.sizes_of_flags()


def test_sizes_are_those_of_the_flags():
    given = {"clips": "1,8,32", "gallery": "5", "questions": "6", "answers": "7"}
    with flagsaver.as_parsed(**given, train_clips="3"):
        assert stages.sizes_of_flags() == Sizes((1, 8, 32), 5, 6, 7, train_clips=3)


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (umt.Retrieval(), "encode decode text evaluation rerank kernels"),
        (umt.QuestionAnswering(), "encode decode answer evaluation kernels"),
        (clip.Retrieval(), "encode decode text evaluation train kernels"),
        (testa.Retrieval(), "encode decode text evaluation rerank"),
        (tds_clip.Recognition(), "encode decode evaluation train kernels"),
        (umt.Recognition(), "encode decode evaluation train kernels"),
    ],
    ids=lambda value: getattr(value, "system", ""),
)
def test_stages_are_those_of_the_records(config, names):
    assert list(stages.stages_of(registry.build(config))) == names.split()


def test_a_step_of_a_network_that_is_trained_whole_costs_three_products():
    sizes = {"model.vision.depth": 1, "model.merger.r": 9}
    system = registry.build(umt.Recognition().override(sizes))
    assert training._macs(system, {"video": np.zeros(2)}) == 2 * 3 * clip_macs(system)


ACTIONS = tds_clip.Recognition(
    model=tds_clip.Model(classes=7), data=tds_clip.ActionData(neighbours=1)
)


def system(config: Config) -> System:
    """Returns a system with the parts that inputs and the ceiling read."""
    vision = {"frames": 2, "image_size": 4, "width": 16}
    config = config.override({"seed": 0, "dtype": "float32", "model.vision": vision})
    small = system_of(Weights(lambda key: {}, ()))
    cost = (LayerCost("patches", 0, 64, 1),)
    merging = dataclasses.replace(small.merging, cost_of=lambda r: cost)
    return dataclasses.replace(small, config=config, merging=merging)


def test_clips_to_train_with_are_as_many_as_asked():
    sizes = Sizes((1, 3), train_clips=5, gallery=4)
    inputs = make_inputs(system(ACTIONS), ["train"], sizes)
    assert inputs["video"].shape == (3, 2, 4, 4, 3)
    assert inputs["videos"].shape == (5, 2, 4, 4, 3)
    assert inputs["label"].shape == (5,)
    with pytest.raises(UserError, match=r"--train_clips=5 is more than the 4 texts"):
        make_inputs(system(umt.Retrieval()), ["encode", "train"], sizes)


@pytest.mark.parametrize(("platform", "products"), [("cpu", 12), ("gpu", 480)])
def test_products_of_the_ceiling_leave_numbers_as_large_as_they_are(
    platform, products, monkeypatch
):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    monkeypatch.setattr("tokmerge_jax.runtime.jit", jax.jit)  # no options of a compiler
    case = ceiling(system(ACTIONS), 2)
    assert case.way == f"{products} products, 128 rows"
    assert case.macs == products * 128 * 16 * 64
    output = case.run().output
    assert output.shape == (128, 16)
    assert np.sqrt((output**2).mean()) == pytest.approx(1, abs=0.1)


def test_both_decoders_have_as_many_processes(monkeypatch):
    monkeypatch.setattr(decoding, "_SECONDS", 1)
    monkeypatch.setattr(decoding, "_VIDEOS", 2)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    drawn = dataclasses.replace(system(umt.Retrieval()), pixels=PIXELS)
    one, three = decoding.decode(drawn, {}, {}, Sizes())
    assert [one.stage, three.stage] == [
        "decode 2 videos, 320x240, 1 process",
        "decode 2 videos, 320x240, 3 processes",
    ]
    assert (one.way, three.way) == ("ours", "ours")
    assert (one.runs, three.runs) == (1, 2 / 48)
    asked, asked_of_three = one.requests["decord"], three.requests["decord"]
    assert (asked["processes"], asked_of_three["processes"]) == (1, 3)
    assert asked_of_three["paths"] == 24 * asked["paths"]
    assert asked_of_three["frames"] == 24 * asked["frames"]
    assert [len(frames) for frames in asked["frames"]] == [4, 4]
    assert (asked["scaled"], asked["size"]) == (0, 32)
    assert one.run().output.shape == (2,)


def test_drawn_videos_move_and_brighten(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "_SECONDS", 1)
    path = decoding.draw(tmp_path / "drawn.mp4", seed=0)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        frames = [f.to_ndarray(format="rgb24").astype(int) for f in container.decode(video=0)]
    assert len(frames) == 30
    assert frames[0].shape == (240, 320, 3)
    assert frames[-1].mean() > frames[0].mean() + 20
    assert np.abs(frames[15] - frames[14]).mean() > 5
