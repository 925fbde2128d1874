"""What is asked of an original: jobs that it has, in the forms that it has."""

import pytest

from benchmarks import peer
from benchmarks.peer import Peer, encoding_macs, requests_for
from tokmerge_jax import registry
from tokmerge_jax.config import internvideo2, pe_core, umt, videoprism
from tokmerge_jax.configs import demo_tempme
from tokmerge_jax.types import UserError

FORMS = {
    "pe_core": ["original, eager", "original, fused", "original, fused, oneDNN"],
    "internvideo2": ["original, eager", "original, fused", "original, fused, oneDNN"],
    "videoprism": [
        "original, eager",
        "original, eager, oneDNN",
    ],  # no fused attention of PyTorch caps logits
}
BACKBONES = pe_core.Retrieval(), internvideo2.Retrieval(), videoprism.Retrieval()


def system_of(config, merger="none"):
    merging = {"model.merger.name": merger, "model.merger.r": 8}
    return registry.build(config.override(merging if merger != "none" else {}))


@pytest.mark.parametrize("config", BACKBONES, ids=lambda config: config.system)
def test_a_backbones_original_only_encodes_and_merges_nothing(config):
    plain, merged = system_of(config), system_of(config, "tome")
    requests = requests_for("encode", plain, clips=2)
    assert list(requests) == FORMS[config.system]
    assert requests["original, eager"] == {
        "stage": "encode", "form": "eager", "how": "off", "clips": 2,
    }  # fmt: skip
    assert requests_for("encode", merged, clips=2) == {}
    assert requests_for("text", plain) == requests_for("evaluate", plain) == {}


def test_onednn_is_not_asked_for_on_a_gpu(monkeypatch):
    monkeypatch.setattr(peer, "on_gpu", lambda: True)
    requests = requests_for("encode", system_of(BACKBONES[0]), clips=1)
    assert [request["form"] for request in requests.values()] == ["eager", "fused"]


def test_vid_tldrs_original_merges_and_reads_texts():
    merged = registry.build(umt.Retrieval())
    both = requests_for("encode", merged, clips=1)
    assert list(both) == ["original, eager", "original, fused", "original, fused, oneDNN"]
    assert both["original, fused"]["how"] == list(merged.merging.schedule.r)
    assert list(requests_for("text", merged)) == ["original, eager", "original, eager, oneDNN"]


def test_onednn_is_not_asked_for_in_training():
    requests = requests_for("train", registry.build(demo_tempme.get_config()), batch=2)
    assert [request["form"] for request in requests.values()] == ["eager", "fused"]


def test_videoprisms_original_projects_every_token_for_the_pooling():
    assert encoding_macs(system_of(BACKBONES[2])) == pytest.approx(615.5e9, rel=1e-4)
    plain = system_of(BACKBONES[0])
    assert encoding_macs(plain) == sum(layer.macs for layer in plain.merging.cost)


@pytest.mark.parametrize(
    ("system", "repository"),
    [
        ("pe_core", "facebookresearch/perception_models"),
        ("internvideo2", "OpenGVLab/InternVideo"),
        ("videoprism", "huggingface/transformers"),
    ],
)
def test_a_folder_that_is_no_checkout_is_refused(system, repository, tmp_path):
    with pytest.raises(UserError, match=f"is no checkout of {repository}"):
        Peer(str(tmp_path), "python").check(system)
