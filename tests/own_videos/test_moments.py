"""Windows become moments: neighbours are joined, and nothing is shown twice."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tokmerge_jax.own_videos.ranking import Hit, joined

WINDOWS = st.builds(
    lambda video, start, length, cosine: Hit(
        video, float(start), float(start + length), 30.0, cosine / 8, None
    ),
    st.sampled_from(["a", "b", "c"]),
    st.integers(0, 27),
    st.integers(2, 3),
    st.integers(0, 8),
)


@given(st.lists(WINDOWS, min_size=1, max_size=40))
def test_moments_lie_apart_best_first_and_cover_the_best_windows(windows):
    windows.sort(key=lambda hit: (-hit.rank, hit.path, hit.start))
    moments = joined(windows)
    assert [hit.rank for hit in moments] == sorted((hit.rank for hit in moments), reverse=True)
    for one, other in itertools.combinations(moments, 2):
        assert one.path != other.path or one.stop < other.start or other.stop < one.start
    best, *_ = windows
    for window in windows:
        inside = any(
            hit.path == window.path and hit.start <= window.start and window.stop <= hit.stop
            for hit in moments
        )
        assert inside or window.rank < best.rank
