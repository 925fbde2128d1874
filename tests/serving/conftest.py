"""One service of a small index for all tests of a process."""

import pytest
import small_server

from tokmerge_jax.serving.service import Service


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    small_server.write_clips(folder / "videos")
    small_server.make_index(folder / "videos", folder / "index")
    return Service(folder / "index")
