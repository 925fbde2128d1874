"""The demo's long clips: the same events in every order, a sentence for each, and their files."""

import itertools
from collections import Counter

import numpy as np
import pytest

from tokmerge_jax import data
from tokmerge_jax.configs import demo_testa
from tokmerge_jax.data.datasets import demo
from tokmerge_jax.data.datasets.demo import long, scene
from tokmerge_jax.data.datasets.demo.long import COUNTS, EVENTS
from tokmerge_jax.data.datasets.galleries import Row
from tokmerge_jax.data.text import tokenizers


def test_all_orders_of_any_four_events_are_told_in_one_split_each():
    assert len({event.colour for event in EVENTS}) == len(EVENTS)
    told = {split: set(long.stories(split)) for split in COUNTS}
    assert set().union(*told.values()) == set(itertools.permutations(EVENTS, 4))
    assert sum(map(len, told.values())) == 360


@pytest.mark.parametrize(("split", "orders", "clips"), [("train", 12, 16), ("test", 8, 1)])
def test_events_alone_do_not_tell_a_clip(split, orders, clips):
    stories = long.stories(split)
    assert len(stories) == COUNTS[split]
    assert set(Counter(stories).values()) == {clips}
    same_events = Counter(frozenset(story) for story in set(stories))
    assert set(same_events.values()) == {orders}


def test_stories_are_the_same_every_time():
    assert long.stories.__wrapped__("test") == long.stories("test")


def test_two_events_are_short():
    drawn = [long.lengths((1, number)) for number in range(50)]
    assert {sum(lengths) for lengths in drawn} == {long.FRAMES}
    for lengths in drawn:
        *short, third, fourth = sorted(lengths)
        assert set(short) <= {2, 3}
        assert 10 <= third <= fourth <= 17
    assert len({tuple(np.argsort(lengths)[:2]) for lengths in drawn}) > 6  # any of the four


def test_each_event_has_its_frames():
    story, seed = long.stories("test")[0], (2, 0)
    frames, lengths = long.draw(story, seed), long.lengths(seed)
    shade = {event.colour: scene.COLOURS[event.colour] for event in story}
    for event, shown in zip(story, np.split(frames, np.cumsum(lengths)[:-1]), strict=True):
        near = {c: np.abs(shown.astype(int) - rgb).max(-1) < 40 for c, rgb in shade.items()}
        assert near[event.colour].any(axis=(1, 2)).all()
        others = [near[colour] for colour in shade if colour != event.colour]
        assert not np.any(others)


def test_paragraphs_fit_and_all_words_are_known():
    config = demo_testa.get_config()
    rule, length = tokenizers.testa_caption(config.data.max_words), config.data.max_text_length
    read = tokenizers.Tokenizer(rule, config.data.vocabulary, length, config.model.text.vocab_size)
    ids, mask = read([" ".join(map(str, story)) for story in long.stories("test")])
    assert not (ids == 1).any()  # [UNK]
    assert len(np.unique(ids, axis=0)) == COUNTS["test"]
    assert mask.sum(axis=1).tolist() == [length] * len(ids)
    assert (ids[:, -1] == 3).all()  # [SEP]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prepared data set; what is there is not drawn by other processes, which take long."""
    folder = tmp_path_factory.mktemp("demo_long")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long, "COUNTS", {"train": 181, "test": 2})
        long.stories.cache_clear()
        for split in long.COUNTS:
            for number, story in enumerate(long.stories(split)):
                path = folder / demo.clip("demo_long", split, number).path
                path.parent.mkdir(parents=True, exist_ok=True)
                if split == "train":
                    path.write_bytes(b"-")  # not empty: that is all that is asked of it
                else:
                    demo.write_clip(path, long.draw(story, (demo.SEEDS[split], number)))
            long.prepare(str(folder), [split], workers=1)
        yield folder
    long.stories.cache_clear()


def test_a_paragraph_is_a_sentence_for_each_event_in_order(folder):
    config = demo_testa.get_config().resolved().data.override({"folder": str(folder), "workers": 0})
    source = data.open_retrieval(config, 32)
    for told, story in zip(source.gallery.texts, long.stories("test"), strict=True):
        sentences = [f"a {e.size} {e.colour} {e.shape} moves {e.direction}" for e in story]
        assert told == " ".join(sentences)
    assert source.gallery.relevant == ((0,), (1,))
    batch = next(source.batches(lambda frames: frames, 2))
    assert batch["video"].shape[:2] == (2, 32)
    rows = [row for row in data.open_training(config, 32).rows if isinstance(row, Row)]
    assert len(rows) == 181
    assert rows[0].path != rows[180].path  # two clips of one story are both right
    assert (rows[0].caption, rows[0].match_id) == (rows[180].caption, rows[180].match_id)
    assert len({row.match_id for row in rows}) == 180
