"""Programs for other machines: what is compiled, and what is reported of it."""

import types
from typing import Any

import pytest

from benchmarks import ahead_of_time
from tokmerge_jax.types import UserError

HLO = """
  %all-gather.2 = bf16[16,2]{1,0} all-gather(%x), channel_id=2
  %start = (f32[8]{0}, f32[8]{0}) all-reduce-start(%y), channel_id=3
  %done = f32[8]{0} all-reduce-done(%start)
  %both = (f32[1024,256]{1,0:T(8,128)}, bf16[4,65536]{1,0}, pred[]) all-reduce(%y, %z), channel_id=4
  %out = bf16[4]{0} custom-call(%z), custom_call_target="tpu_custom_call"
"""


def test_figures_are_those_of_the_compiler():
    sizes = types.SimpleNamespace(argument_size_in_bytes=3 * 2**20, temp_size_in_bytes=2**19)
    program: Any = types.SimpleNamespace(
        memory_analysis=lambda: sizes, as_text=lambda: HLO, cost_analysis=lambda: {"flops": 2.5e9}
    )
    assert ahead_of_time.figures(program) == (
        "3.0 MiB of arguments, 0.5 MiB beside them, 2.5 GFLOP, 1 kernels,"
        " collectives: 1 all-gather of 0.0 MiB, 2 all-reduce of 1.5 MiB"
    )


def test_bytes_of_collectives():
    both = 4 * 1024 * 256 + 2 * 4 * 65536 + 1
    expected = {"all-gather": [2 * 16 * 2], "all-reduce": [4 * 8, both]}
    assert ahead_of_time.collectives(HLO) == expected


def test_an_unknown_slice_is_refused():
    with pytest.raises(UserError, match=r"--topology=v5e4x4: .*; install jax\[tpu\], and give a"):
        ahead_of_time.chips_of("v5e4x4")
