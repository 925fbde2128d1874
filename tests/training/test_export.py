"""The exported file holds every parameter under its path."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from tokmerge_jax.training import export
from tokmerge_jax.types import UserError


def test_names_values_and_dtype(tmp_path):
    params = {"a": {"kernel": np.array([[1, 2.0001]], np.float32)}, "temperature": np.float32(0.07)}
    size = export.write(tmp_path / "new" / "whole.safetensors", params)
    whole = load_file(tmp_path / "new" / "whole.safetensors")
    assert size == (tmp_path / "new" / "whole.safetensors").stat().st_size
    assert sorted(whole) == ["a/kernel", "temperature"]
    np.testing.assert_array_equal(whole["a/kernel"], params["a"]["kernel"])
    export.write(tmp_path / "half.safetensors", params, np.float16)
    half = load_file(tmp_path / "half.safetensors")
    assert half["temperature"] == np.float16(0.07)
    assert half["a/kernel"].dtype == np.float16


def test_a_place_that_cannot_be_written_is_refused_beforehand(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UserError, match=f"^{tmp_path} is a folder; name a file to export to"):
        export.check(tmp_path)
    with pytest.raises(UserError, match="file: File exists; name another place"):
        export.check(tmp_path / "file" / "below.safetensors")
    assert (tmp_path / "file").read_text() == "kept"
    with pytest.raises(UserError, match=r"--export=.*weights.npz must end in .safetensors"):
        export.check(tmp_path / "new" / "weights.npz")
    (tmp_path / "file.safetensors").touch()
    export.check(tmp_path / "file.safetensors")  # a run that was exported is exported again
    export.check(tmp_path / "new" / "weights.safetensors")
    assert not [*(tmp_path / "new").iterdir()]
