"""What an index holds, as Arrow counts it: the same as a loop over its rows."""

import os
import pathlib

import numpy as np
import pytest
from small_gallery import WIDTH
from small_index import opened, whole

from tokmerge_jax.own_videos import contents
from tokmerge_jax.own_videos.damage import DamageError
from tokmerge_jax.own_videos.index import entries

ODD = os.fsdecode(b"caf\xe9/in\nside/x.mp4")
NAMES = ["top.mp4", "one/whole.mp4", "one/two/unfinished.mp4", "one/cut.mp4", "gone.mp4", ODD]


def test_it_is_that_of_the_entries(tmp_path):
    index, numbers = opened(tmp_path), {"embedding": np.ones((1, 1, WIDTH), np.float32)}
    assert contents.read(tmp_path)[1:] == (0, 0)
    stamps = dict.fromkeys(NAMES, (1, 1))
    for name in (*NAMES[:2], ODD):
        index.add([whole(name, last=False)], stamps, numbers)
        index.add([whole(name)], stamps, numbers)
    index.add([whole(NAMES[2], last=False)], stamps, numbers)
    index.refuse(NAMES[3], (1, 1), "damaged")
    index.add([whole(NAMES[3])], stamps, numbers)
    index.refuse(NAMES[4], (1, 1), "damaged")
    held, known = contents.read(tmp_path), entries(tmp_path)
    assert {os.fsdecode(path) for path in held.paths.to_pylist()} == {*known} == {*NAMES}
    assert held.complete == sum(1 for each in known.values() if not each.fault) == 3
    assert held.windows == index.windows == 8
    parents = (pathlib.PurePath(name).parents for name in NAMES)
    assert held.folders() == {str(each) for some in parents for each in some} - {"."}
    assert held.known([ODD, "one", "one/cut.mp4"]) == [True, False, True]


def test_damage_is_one_sentence(tmp_path):
    opened(tmp_path)
    for file in (tmp_path / "videos.lance" / "_versions").iterdir():
        file.write_bytes(bytes(100))
    with pytest.raises(DamageError, match="is damaged"):
        contents.read(tmp_path)
