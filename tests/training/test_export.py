"""The exported file holds every parameter under its path."""

import numpy as np
from safetensors.numpy import load_file

from tokmerge_jax.training import export


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
