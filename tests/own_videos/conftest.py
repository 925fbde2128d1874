"""A whole index for the tests of this folder."""

import pytest
from small_index import FILES, fill, opened


@pytest.fixture
def full(tmp_path):
    index = opened(tmp_path / "index")
    fill(index, index.update(FILES))
    return index
