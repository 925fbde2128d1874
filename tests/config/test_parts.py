"""Configurations as typed objects: other values, their types, and what is refused."""

import dataclasses
import json
import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokmerge_jax.config import clip, common, expect, tds_clip, testa, umt
from tokmerge_jax.config.parts import restore
from tokmerge_jax.types import UserError

EVERY = (
    umt.Retrieval(), umt.QuestionAnswering(), clip.Retrieval(), tds_clip.Recognition(),
    testa.Retrieval(), testa.Pretraining(), testa.QuestionAnswering(),
)  # fmt: skip


@pytest.mark.parametrize("config", EVERY, ids=lambda config: config.system)
def test_defaults_are_sound_and_json_holds_them(config):
    config.resolved().check()
    kept = json.loads(json.dumps(config.to_dict()))
    flat = {key: kept_at(kept, key) for key in config.keys}
    assert config.override(flat) == config  # tuples have become lists, and tuples again


def kept_at(tree, key):
    for name in key.split("."):
        tree = tree[name]
    return tree


def test_override_leaves_the_rest_and_the_first_as_they_are():
    config = umt.Retrieval()
    other = config.override({"model.merger": {"r": [600, 200]}, "eval.dual_softmax": 3})
    assert (other.model.merger.r, config.model.merger.r) == ((600, 200), (0,))
    assert type(other.eval.dual_softmax) is float
    assert other == dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, merger=umt.Merger(r=(600, 200))),
        eval=dataclasses.replace(config.eval, dual_softmax=3.0),
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        other.seed = 1  # pyright: ignore[reportAttributeAccessIssue]


@given(st.one_of(st.integers(), st.lists(st.integers() | st.floats(allow_nan=False)), st.text()))
def test_a_schedule_may_have_any_of_its_forms(r):
    kept = umt.Retrieval().override({"model.merger.r": r}).model.merger.r
    assert kept == (tuple(r) if isinstance(r, list) else r)


@pytest.mark.parametrize(
    ("config", "change", "says"),
    [
        (umt.Retrieval(), {"model.merger.s": 1}, "'model.merger.s'; did you mean model.merger.r?"),
        (umt.Retrieval(), {"modle.embed_dim": 1}, "did you mean model.embed_dim?"),
        (umt.Retrieval(), {"model": 1}, "no key 'model'"),
        (umt.Retrieval(), {"eval.plus_similarity": True}, "no key 'eval.plus_similarity'"),
        (umt.Retrieval(), {"seed": "x"}, "config.seed='x' must be of type int"),
        (umt.Retrieval(), {"seed": True}, "config.seed=True must be of type int"),
        (umt.Retrieval(), {"eval.rerank": 1}, "config.eval.rerank=1 must be of type bool"),
        (umt.Retrieval(), {"model.dropout": "a"}, "config.model.dropout='a' must be of type float"),
        (umt.Retrieval(), {"model.merger.r": None}, "config.model.merger.r=None must be of type"),
        (umt.Retrieval(), {"data.on_broken": "go"}, "on_broken='go' is unknown; use stop, skip"),
        (clip.Retrieval(), {"model.join.layers": (2.0, 4)}, "must be of type tuple[int, ...]"),
        (tds_clip.Recognition(), {"data.scale": (1, 2, 3)}, "of type int | tuple[int, int]"),
    ],
)  # fmt: skip
def test_unknown_keys_and_wrong_types_are_refused(config, change, says):
    with pytest.raises(UserError) as caught:
        config.override(change)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("config", "change", "says"),
    [
        (umt.Retrieval(), {"data.workers": -1}, "config.data.workers=-1 must be 0 or more"),
        (umt.Retrieval(), {"train.epochs": 0}, "config.train.epochs=0 must be at least 1"),
        (umt.Retrieval(), {"eval.batch_size": 0}, "config.eval.batch_size=0 must be above 0"),
        (umt.Retrieval(), {"eval.top_k": 0}, "config.eval.top_k=0 must be above 0"),
        (umt.Retrieval(), {"eval.dual_softmax": -1.0}, "eval.dual_softmax=-1.0 must be 0 or more"),
        (umt.Retrieval(), {"eval.dual_softmax": 1.0}, "exclude each other"),
        (umt.Retrieval(), {"model.vision.width": 2**20 + 1}, "=1048577 is too large"),
        (umt.Retrieval(), {"model.vision.width": 100}, "multiple of config.model.vision.heads=12"),
        (umt.Retrieval(), {"model.text.fusion_layer": 12}, "less than config.model.text.depth=12"),
        (umt.QuestionAnswering(), {"eval.first_piece": 3}, "eval.first_piece=3 must be 1 or 2"),
        (umt.QuestionAnswering(), {"data.max_answer_length": 513}, "at most config.model.text.max"),
        (umt.QuestionAnswering(), {"train.questions_per_video": 0}, "must be at least 1"),
        (testa.QuestionAnswering(), {"eval.beams": 0}, "config.eval.beams=0 must be 1 or more"),
        (testa.QuestionAnswering(), {"eval.min_length": 11}, "at most config.eval.max_length"),
        (testa.Pretraining(), {"caption.top_p": 1.5}, "caption.top_p=1.5 must be from 0 to 1"),
        (umt.Retrieval(), {"train.mask_ratio": -0.5}, "mask_ratio=-0.5 must be from 0 to 1"),
        (umt.Retrieval(), {"train.backbone_rate": -0.1}, "backbone_rate=-0.1 must be 0 or more"),
        (umt.Recognition(), {"train.backbone_rate": math.nan}, "backbone_rate=nan must be 0 or"),
        (umt.Retrieval(), {"train.learning_rate": math.nan}, "learning_rate=nan must be above 0"),
        (umt.Retrieval(), {"train.learning_rate": math.inf}, "learning_rate=inf must be finite"),
        (umt.Retrieval(), {"train.weight_decay": math.inf}, "weight_decay=inf must be finite"),
        (umt.Retrieval(), {"train.warmup_epochs": math.inf}, "warmup_epochs=inf must be finite"),
        (umt.Retrieval(), {"train.mask_ratio": 1.0}, "mask_ratio=1 leaves no patch"),
        (
            umt.Retrieval(),
            {"train.mask_ratio": 0.5, "model.vision.keep_temporal": True},
            "keep_temporal pools the patches of each frame, of which config.train.mask_ratio",
        ),
        (testa.Retrieval(), {"data.decode_size": -2}, "data.decode_size=-2 must be 0 or more"),
        (testa.Retrieval(), {"train.queue": 33}, "queue=33 must be a multiple of config"),
        (clip.Retrieval(), {"model.lora_rank": -1}, "config.model.lora_rank=-1 must be 0 or more"),
        (clip.Retrieval(), {"model.sizes": "checkpoint"}, "needs config.checkpoint"),
        (umt.Recognition(), {"model.vision.keep_temporal": True}, "which only retrieval has"),
        (umt.QuestionAnswering(), {"model.vision.keep_temporal": True}, "set it to False"),
        (umt.Recognition(), {"train.layer_decay": 2.0}, "layer_decay=2.0 must be from 0 to 1"),
        (tds_clip.Recognition(), {"model.side.width": 65}, "must be a multiple of 64, or 0"),
    ],
)  # fmt: skip
def test_numbers_that_cannot_work_are_named(config, change, says):
    with pytest.raises(UserError) as caught:
        config.override(change).resolved().check()
    assert says in str(caught.value)


def test_values_that_follow_others_do_so_until_they_are_set():
    small = testa.Retrieval().override({"model.vision.image_size": 96})
    assert small.resolved().data.decode_size == 96
    assert small.override({"data.decode_size": 0}).resolved().data.decode_size == 0
    plain = tds_clip.Recognition().override({"model.side.differences": False})
    assert [c.resolved().data.neighbours for c in (tds_clip.Recognition(), plain)] == [5, 1]


def test_what_a_family_has_no_key_for_is_one_value():
    assert (common.Data.decode_size, umt.Training.samples, clip.Training().parts) == (0, 1, 1)
    assert umt.RerankingOptions().plus_similarity is False
    assert umt.RerankingOptions(rerank=False).reranking is None


def test_a_part_of_another_task_is_refused():
    config = umt.QuestionAnswering()
    assert expect(config.data, common.QuestionData) is config.data
    with pytest.raises(UserError, match=r"umt\.QuestionData where common\.ActionData is"):
        expect(config.data, common.ActionData)


def test_configurations_start_fast():
    """Whoever lists or changes configurations waits neither for JAX nor for the door's library."""
    code = (
        "import sys\nfrom tokmerge_jax.configs import demo, demo_tdsclip, demo_tempme, demo_testa\n"
        "print({'jax', 'numpy', 'ml_collections'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_what_an_earlier_version_wrote_is_restored():
    config = umt.Retrieval().override({"model.merger.r": (600, 200), "eval.top_k": 7})
    kept = json.loads(json.dumps(config.to_dict()))
    assert restore(umt.Retrieval, kept) == config
    del kept["model"]["merger"]["name"], kept["train"]["epochs"]
    assert restore(umt.Retrieval, kept) == config  # what it does not say has its default


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"modle": {}}, "a missing or unknown key: modle$"),
        ({"model": 3}, "holds 3 in place of keys: model.$"),
        ({"eval": {"top_k": "a"}}, "eval.top_k"),
    ],
)
def test_what_is_no_configuration_is_not_restored(change, says):
    with pytest.raises(UserError, match=says):
        restore(umt.Retrieval, {**umt.Retrieval().to_dict(), **change})
    with pytest.raises(UserError, match="in place of keys: at its top"):
        restore(umt.Retrieval, ["model"])
