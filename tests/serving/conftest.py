"""One service of a small index for all tests of a process."""

import pytest
import small_server
from starlette.testclient import TestClient

from tokmerge_jax.serving.app import application
from tokmerge_jax.serving.service import Service


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    small_server.write_clips(folder / "videos")
    small_server.make_index(folder / "videos", folder / "index")
    return Service(folder / "index")


@pytest.fixture
def client(service):
    with TestClient(application(service), base_url="http://127.0.0.1") as client:
        yield client
