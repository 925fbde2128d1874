"""Files made to harm their reader: refused in one short sentence, within 2 s and little memory."""

import os
import pathlib
import subprocess
import sys
import time

import hostile
import numpy as np
import pytest

from tokmerge_jax.checkpoints import torch_file
from tokmerge_jax.types import UserError


def refuse(content: bytes, suffix: str = ".pth") -> None:
    """Reads `content` as a file of the folder that is current; it must be refused quickly."""
    name = f"file{suffix}"
    with open(name, "wb") as file:
        file.write(content)
    start = time.process_time()
    with pytest.raises(UserError) as refusal:
        torch_file.read(name)
    assert time.process_time() - start < 2
    message = str(refusal.value)
    assert len(message) < 500
    assert message.isprintable()  # one line


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """A folder of its own, in which nothing may appear but the file."""
    monkeypatch.chdir(tmp_path)
    yield
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", hostile.HARMLESS)
def test_what_stands_beside_the_weights_does_not_decide(name, tmp_path):
    (tmp_path / "file.pth").write_bytes(hostile.HARMLESS[name])
    tensors = torch_file.read(tmp_path / "file.pth")
    assert list(tensors) == ["weight"]
    np.testing.assert_array_equal(tensors["weight"], np.array([0, 1], np.float32), strict=True)


@pytest.mark.parametrize("name", hostile.HOSTILE)
def test_hostile_checkpoints(name):
    refuse(hostile.HOSTILE[name]())


@pytest.mark.parametrize("name", hostile.SAFETENSORS)
def test_hostile_safetensors(name):
    refuse(hostile.SAFETENSORS[name](), ".safetensors")


@pytest.mark.slow
def test_small_files_neither_hang_nor_swell():
    """Checks in a new process: at most 2 s, and four times the file plus 64 MB."""
    table = subprocess.run(
        [sys.executable, "-c", _MEASURE], capture_output=True, text=True, check=True, env=_PATHS
    ).stdout.splitlines()
    for row in table:
        name, size, seconds, peak, message = row.split("|")
        assert float(seconds) < 2, name
        assert float(peak) < 4 * float(size) + 2**26, name
        assert message.startswith("cannot read checkpoint file.pth: "), name
    assert len(table) == len(hostile.SWELLING)


_ROOT = pathlib.Path(__file__).parents[2]
_PATHS = {**os.environ, "PYTHONPATH": f"{_ROOT}:{_ROOT / 'tests/support'}"}
_MEASURE = """
import time
import hostile
from tokmerge_jax.checkpoints import torch_file
from tokmerge_jax.types import UserError

def memory(which):
    with open("/proc/self/status") as file:
        return next(int(row.split()[1]) * 1024 for row in file if row.startswith(which))

for name, make in hostile.SWELLING.items():
    with open("file.pth", "wb") as file:
        size = file.write(make())
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the highest use so far is forgotten
    before, start = memory("VmRSS"), time.process_time()
    try:
        message = torch_file.read("file.pth")
    except UserError as error:
        message = error
    print(name, size, time.process_time() - start, memory("VmHWM") - before, message, sep="|")
"""
