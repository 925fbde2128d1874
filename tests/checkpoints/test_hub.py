"""Weights by name, from a server on loopback: resumed, kept, verified or refused."""

import hashlib
import pathlib
import re

import jax
import numpy as np
import pytest
import small_hub
from safetensors.numpy import save

import tokmerge_jax
from tokmerge_jax import checkpoints
from tokmerge_jax.checkpoints import hub, known, torch_file
from tokmerge_jax.config import files
from tokmerge_jax.types import UserError

TENSORS = {"a": np.arange(700_000, dtype=np.float32)}  # almost three blocks of a download
WHOLE = save(TENSORS)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of downloaded weights, empty; so is the Hub's cache."""
    from huggingface_hub import constants

    monkeypatch.setenv("TOKMERGE_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    return tmp_path / "weights"


@pytest.fixture
def served(folder, monkeypatch):
    """A server with one repository, which stands for the Hub and for any other address."""
    from huggingface_hub import constants, hf_api

    content = {"model.safetensors": WHOLE, "config.json": b"{}", "vocab.txt": b"a\n", "x.py": b""}
    with small_hub.serving(small_hub.Hub("me/net", content)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(hf_api.api, "endpoint", server.address)
        yield server


def listed(monkeypatch, address, sha256=""):
    """Puts an address into the table as `mine`."""
    entry = known.Known(address, "demo", "MIT", "a test", sha256)
    monkeypatch.setitem(known.KNOWN, "mine", entry)


def test_a_known_file_is_downloaded_once_and_verified(served, folder, monkeypatch):
    digest = hashlib.sha256(WHOLE).hexdigest()
    listed(monkeypatch, f"{served.address}/me/net/resolve/main/model.safetensors", digest)
    for _ in range(2):
        path = hub.local("hub:mine")
        assert path == folder / "model.safetensors"
        np.testing.assert_array_equal(torch_file.read(path)["a"], TENSORS["a"])
    assert len(served.downloads) == 1
    path.write_bytes(WHOLE[:-1] + b"!")
    with pytest.raises(UserError, match=rf"not the file of hub:mine: its SHA-256 .* not {digest}"):
        hub.local("hub:mine")


def test_a_stopped_download_continues(served, folder, monkeypatch):
    listed(monkeypatch, "hf://me/net/model.safetensors")
    for served.stop_after in (1_500_000, 1_000_000):
        with pytest.raises(
            UserError, match=r"^hub:mine: .*ended after .* of 2,800,\d+ bytes.*again"
        ):
            hub.local("hub:mine")
    served.stop_after = 0
    assert hub.local("hub:mine").read_bytes() == WHOLE
    ranges = [asked for *_, asked in served.downloads]  # one byte is asked for again
    assert ranges == ["bytes=0-", "bytes=1499999-", "bytes=2499998-"]
    digest = hashlib.sha256(WHOLE).hexdigest()
    assert (folder / "model.safetensors.sha256").read_text() == f"{digest}\n"


def test_a_server_without_ranges_sends_all_again(served, folder, monkeypatch):
    listed(monkeypatch, "hf://me/net/model.safetensors")
    folder.mkdir()
    (folder / "model.safetensors.part").write_bytes(b"x" * 4_000_000)
    served.ranges = False
    assert hub.local("hub:mine").read_bytes() == WHOLE


def test_without_a_published_digest_the_first_download_is_the_measure(served, folder, monkeypatch):
    listed(monkeypatch, "hf://me/net/model.safetensors")
    hub.local("hub:mine").unlink()
    served.files["model.safetensors"] = save({"a": np.zeros(3, np.float32)})
    with pytest.raises(UserError, match=r"SHA-256 is .*delete it .*model.safetensors.sha256 too"):
        hub.local("hub:mine")


def test_offline_the_address_and_the_place_are_given(folder, monkeypatch):
    address = "http://127.0.0.1:9/umt/b16.pth"  # nobody listens there
    listed(monkeypatch, address)
    said = rf"^hub:mine: {address} cannot be downloaded \(.*refused.*put it into {folder}, or name"
    with pytest.raises(UserError, match=said):
        hub.local("hub:mine")
    (folder / "b16.pth").write_bytes(b"by hand")
    assert hub.local("hub:mine") == folder / "b16.pth"


def test_a_repository_is_downloaded_with_what_belongs_to_it(served):
    path = hub.local("hf://me/net")
    assert path.read_bytes() == WHOLE
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "config.json", "model.safetensors", "vocab.txt"
    ]  # fmt: skip
    served.requests.clear()
    assert hub.local("hf://me/net") == path
    assert hub.local("hf://me/net/vocab.txt").read_bytes() == b"a\n"
    assert served.requests == []  # both are in the cache


def test_parts_of_a_checkpoint_come_with_their_index(served):
    index = b'{"weight_map": {"a": "b-1.safetensors"}}'
    served.files |= {"b.safetensors.index.json": index, "b-1.safetensors": WHOLE}
    path = hub.local("hf://me/net/b.safetensors.index.json")
    np.testing.assert_array_equal(torch_file.read(path)["a"], TENSORS["a"])


def test_the_only_file_of_weights_need_not_be_named(served):
    served.files["net.pth"] = served.files.pop("model.safetensors")
    assert hub.local("hf://me/net").name == "net.pth"
    served.files["other.pth"] = b""
    with pytest.raises(UserError, match=r"has several: net.pth, other.pth; write hf://me/net/FILE"):
        hub.local("hf://me/net")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("hub:msrvt_b16", "hub:msrvt_b16 is unknown; did you mean hub:msrvtt_b16"),
        ("hub:zzz", "`tokmerge weights` lists the names"),
        ("hf://me", "is no address on the Hub; write hf://OWNER/REPOSITORY"),
        ("hf://me/other", "cannot be downloaded (404"),
        ("hf://me/net/none.bin", "cannot be downloaded (404"),
    ],
)
def test_a_wrong_name_is_one_sentence(served, name, says):
    with pytest.raises(UserError, match=re.escape(says)):
        hub.local(name)


def test_load_takes_the_known_weights_of_a_configuration(served, monkeypatch):
    weights = pathlib.Path(files.load("demo").checkpoint)
    served.files["model.safetensors"] = weights.read_bytes()
    listed(monkeypatch, "hf://me/net/model.safetensors")
    monkeypatch.setitem(known.KNOWN, "demo", known.KNOWN["mine"])
    model = tokmerge_jax.load("demo", {"checkpoint": ""})
    assert model.system.config.checkpoint == "hub:demo"
    kept = checkpoints.load_checkpoint(weights, model.system)
    jax.tree.map(np.testing.assert_array_equal, model.params, kept)


def test_the_table_is_of_configurations_and_of_files_that_differ():
    for name, entry in known.KNOWN.items():
        assert files.load(entry.config)
        assert entry.config == name or name not in files.names()
        file = r"[\w.-]+\.(pth|pt|npz|bin|safetensors)"
        assert re.fullmatch(rf"(hf://[^/]+/.+|https://.+)/{file}", entry.address)
        assert re.fullmatch("[0-9a-f]{64}|", entry.sha256)
        assert entry.sha256 in entry.address
    addresses = {entry.address for entry in known.KNOWN.values()}
    names = {entry.file for entry in known.KNOWN.values()}
    assert len(names) == len(addresses)  # they share a folder
