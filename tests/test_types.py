"""Galleries of every kind without some of their videos, by hand."""

from tokmerge_jax.types import Actions, Choices, Gallery, Questions


def test_texts_go_with_the_last_of_their_videos():
    gallery = Gallery(tuple("abcd"), ("p", "q", "r", "s"), ((0,), (1, 3), (1,), (2, 0)))
    assert gallery.without({1}) == (
        Gallery(tuple("acd"), ("p", "q", "s"), ((0,), (2,), (1, 0))),
        [0, 1, 3],
    )
    assert gallery.without(()) == (gallery, [0, 1, 2, 3])
    assert gallery.without({0, 1, 2, 3}) == (Gallery((), (), ()), [])


def test_options_and_actions_go_with_their_video():
    choices = Choices(tuple("aba"), (("x", "y"), ("y", "z"), ("z", "x")), (1, 0, 1))
    left = Choices(("a", "a"), (("x", "y"), ("z", "x")), (1, 1))
    assert choices.without({1}) == (left, [0, 2])
    actions = Actions(tuple("abc"), (4, 0, 4), tuple("vwxyz"))
    assert actions.without({0, 2}) == (Actions(("b",), (0,), tuple("vwxyz")), [1])


def test_questions_go_with_their_video_and_answers_stay():
    truths = (("x",), ("y", "z"), ("x",), ("z",))
    asked = Questions(
        tuple("abc"), tuple("1234"), ("p", "q", "r", "s"), (0, 1, 1, 2), truths, ("x",)
    )
    assert asked.without({1}) == (
        Questions(tuple("ac"), ("1", "4"), ("p", "s"), (0, 1), (("x",), ("z",)), ("x",)),
        [0, 3],
    )
