"""Thumbnails that are kept: the last ones, as many as a number of bytes holds."""

from tokmerge_jax.serving.thumbnails import Recent


def test_the_last_ones_stay_within_the_bytes():
    made = []

    def make(size):
        return lambda: made.append(size) or bytes(size)

    recent = Recent(10)
    for key, size in (("a", 4), ("b", 5), ("a", 4), ("c", 3)):  # b is the oldest
        assert recent(key, make(size)) == bytes(size)
    assert made == [4, 5, 3]
    recent("a", make(4))
    assert made == [4, 5, 3]
    recent("b", make(5))  # c and a have 7 bytes, so c goes
    assert made == [4, 5, 3, 5]
    recent("a", make(4))
    recent("b", make(5))
    assert made == [4, 5, 3, 5]
    assert len(recent("d", make(11))) == 11  # too large to be kept
    recent("d", make(11))
    recent("b", make(5))
    assert made == [4, 5, 3, 5, 11, 11]


def test_what_two_threads_made_is_held_once():
    recent = Recent(10)

    def make():
        recent("a", lambda: bytes(6))
        return bytes(6)

    recent("a", make)
    recent("b", lambda: bytes(4))
    assert recent("a", lambda: b"made again") == bytes(6)
    assert recent("b", lambda: b"made again") == bytes(4)
