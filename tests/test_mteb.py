"""Systems as models of MTEB, with stand-ins for what it gives; `test_mteb_page.py` runs it."""

import dataclasses
import pathlib
import sys
import types
from collections.abc import Mapping

import numpy as np
import pytest

import tokmerge_jax
from tokmerge_jax.mteb import Encoder
from tokmerge_jax.types import UserError


@dataclasses.dataclass(frozen=True)
class Video:
    """The feature `datasets.Video`: decoded by default."""

    decode: bool = True


@dataclasses.dataclass
class Rows:
    """A `datasets.Dataset`; a video can be read only where it is not decoded."""

    columns: dict[str, list]
    features: Mapping[str, object]

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.columns[key]
        assert self.features["video"] == Video(decode=False)
        return {name: column[key] for name, column in self.columns.items()}

    def select_columns(self, column_names):
        columns, features = self.columns[column_names], self.features[column_names]
        return Rows({column_names: columns}, {column_names: features})

    def cast_column(self, column, feature):
        return Rows(self.columns, {**self.features, column: feature})


@dataclasses.dataclass
class Loader:
    """A `torch.utils.data.DataLoader`."""

    dataset: Rows
    batch_size: int


def loader(size, **columns):
    features = {name: Video() if name == "video" else "text" for name in columns}
    return Loader(Rows(columns, features), size)


@pytest.fixture
def models(monkeypatch):
    """MTEB's module of models, whose `ModelMeta` holds any fields."""
    fake = types.ModuleType("mteb.models")
    setattr(fake, "ModelMeta", types.SimpleNamespace)  # noqa: B010
    monkeypatch.setitem(sys.modules, "mteb", types.ModuleType("mteb"))
    monkeypatch.setitem(sys.modules, "mteb.models", fake)


@pytest.fixture(scope="module")
def model():
    return tokmerge_jax.load("demo", {"data.workers": 0})


@pytest.fixture
def encoder(model, models):
    return Encoder(model, "demo")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return [*tokmerge_jax.draw_clips(tmp_path_factory.mktemp("clips"), 3)]


TEXTS = ["a small blue cross moves up", "a cross", "a large blue circle moves right"]


def test_texts_are_those_of_the_model_whatever_the_batch(encoder, model):
    wanted = model.encode_text(TEXTS)["embedding"]
    got = encoder.encode(loader(2, text=TEXTS), task_metadata=None, prompt_type="query")
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)
    alone = encoder.encode(loader(2, text=TEXTS[2:]))
    np.testing.assert_allclose(alone, got[2:], atol=1e-6)


def test_videos_are_bytes_or_paths_and_read_as_by_the_model(encoder, model, paths):
    wanted = model.encode_video(model.read(paths))["embedding"].mean(axis=1)
    cells = [{"bytes": pathlib.Path(path).read_bytes(), "path": "a.mp4"} for path in paths[:2]]
    cells.append({"bytes": None, "path": paths[2]})
    got = encoder.encode(loader(2, video=cells, id=["a", "b", "c"]))
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    assert np.abs(got[0] - got[1]).max() > 0.01


def test_a_path_starts_from_the_working_folder(encoder, paths, monkeypatch):
    folder, name = pathlib.Path(paths[0]).parent, pathlib.Path(paths[0]).name
    whole = encoder.encode(loader(1, video=[{"bytes": None, "path": paths[0]}]))
    monkeypatch.chdir(folder.parent)
    relative = {"bytes": None, "path": f"{folder.name}/{name}"}
    np.testing.assert_array_equal(encoder.encode(loader(1, video=[relative])), whole)


def test_a_row_of_a_text_and_a_video_is_the_unit_vector_of_their_sum(encoder, paths):
    cells = [{"bytes": None, "path": path} for path in paths]
    text, video = (encoder.encode(each) for each in (loader(3, text=TEXTS), loader(3, video=cells)))
    both = encoder.encode(loader(3, video=cells, text=TEXTS))
    lengths = np.sqrt(2 + 2 * encoder.similarity_pairwise(text, video))
    np.testing.assert_allclose(both, (text + video) / lengths[:, None], atol=1e-6)


def test_one_program_serves_a_batch_that_is_short(encoder, model, monkeypatch):
    sizes = []
    encode = model.encode_text
    monkeypatch.setattr(
        model, "encode_text", lambda texts: sizes.append(len(texts)) or encode(texts)
    )
    assert encoder.encode(loader(2, text=TEXTS)).shape == (3, 128)
    assert sizes == [2, 2]


@pytest.mark.parametrize("columns", [("text",), ("video",), ("text", "video")])
def test_no_rows_are_an_empty_array_of_the_models_width(encoder, columns):
    got = encoder.encode(loader(2, **{name: [] for name in columns}))
    assert (got.shape, got.dtype) == ((0, 128), np.float32)
    np.testing.assert_array_equal(encoder.similarity(got, np.ones((3, 128))), np.empty((0, 3)))


def test_similarities_are_dot_products(encoder):
    one, other = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[3.0, 1.0], [2.0, 2.0]])
    np.testing.assert_array_equal(encoder.similarity(one, other), [[5, 6], [1, 2]])
    np.testing.assert_array_equal(encoder.similarity_pairwise(one, other), [5, 2])


@pytest.mark.slow
@pytest.mark.parametrize("config", ["demo_clip", "demo_tempme", "demo_testa"])
def test_every_systems_similarity_is_that_of_the_model(models, paths, config):
    model = tokmerge_jax.load(config, {"data.workers": 0})
    encoder = Encoder(model, config)
    video = encoder.encode(loader(3, video=[{"bytes": None, "path": path} for path in paths]))
    text = encoder.encode(loader(3, text=TEXTS))
    wanted = model.similarity(model.encode_video(model.read(paths)), model.encode_text(TEXTS))
    np.testing.assert_allclose(encoder.similarity(text, video), wanted.T, atol=1e-6)
    assert encoder.mteb_model_meta.embed_dim == text.shape[1] == video.shape[1]


def test_the_description_names_weights_merging_and_cost(encoder, model, models):
    meta = encoder.mteb_model_meta
    assert (meta.name, meta.embed_dim, meta.modalities) == (
        "tokmerge_jax/demo",
        128,
        ["text", "video"],
    )
    assert (meta.max_tokens, meta.similarity_fn_name) == (16, "dot")
    about = meta.experiment_kwargs
    assert (about["merging"], about["r"]) == ("vid_tldr", [100, 60, 0, 0])
    assert about["gmac"] == round(model.system.merging.gmac, 3)
    changes = {"model.merger.name": "none"}, {"data.max_text_length": 12}
    others = [Encoder(tokmerge_jax.load("demo", change), "me/demo") for change in changes]
    kinds = [each.mteb_model_meta for each in others]
    assert {kind.name for kind in kinds} == {"me/demo"}
    assert {kind.revision for kind in kinds} == {meta.revision}  # the weights are the same
    settings = {kind.experiment_kwargs["settings"] for kind in (meta, *kinds)}
    assert len(settings) == 3
    plain, short = (kind.experiment_kwargs for kind in kinds)
    assert (plain["merging"], plain["r"]) == ("none", [0, 0, 0, 0])
    assert plain["gmac"] > about["gmac"] == short["gmac"]


def test_other_weights_have_another_revision(encoder, model):
    changed = {**model.params, "temperature": model.params["temperature"] + 1}
    other = Encoder(tokmerge_jax.Model(model.system, changed), "demo").mteb_model_meta
    assert other.revision != encoder.mteb_model_meta.revision
    assert other.n_parameters == encoder.mteb_model_meta.n_parameters


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (loader(2, image=["x"]), r"^a task's rows hold image; choose a task of videos or texts$"),
        (
            Loader(Rows({"video": ["a.mp4"]}, {"video": "string"}), 2),
            r"the task's videos are of the type 'string'; cast the column to datasets\.Video\(\)$",
        ),
        (
            loader(2, video=[{"bytes": b"no video", "path": "a.mp4"}]),
            r"^row 0 of the task's videos cannot .*a-[0-9a-f]{16}\.mp4: .*\); take the row out",
        ),
        (
            loader(2, video=[{"bytes": 3, "path": ""}]),
            r"^row 0 of .*\(column 'video': a video must be bytes, not 3\)",
        ),
        (loader(2, video=[None]), r"^row 0 of .* encoded \(the row has no video\); take the row"),
        (
            loader(2, video=[{"bytes": None, "path": None}]),
            r"^row 0 of .* encoded \(the row has no video\); take the row",
        ),
        (loader(2, text=["a cross", ""]), r"^'' holds no word"),
    ],
)
def test_rows_that_cannot_be_encoded_are_named(encoder, inputs, message):
    with pytest.raises(UserError, match=message):
        encoder.encode(inputs)


def test_without_mteb_the_extra_is_named(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "mteb", None)
    monkeypatch.delitem(sys.modules, "mteb.models", raising=False)
    with pytest.raises(UserError, match=r"needs the package mteb.* '\.\[mteb\]'\)$"):
        Encoder(model, "demo")


def test_a_system_without_retrieval_is_refused(models):
    model = tokmerge_jax.load("demo_tdsclip")
    with pytest.raises(
        UserError, match=r"not support text-video retrieval, .* example msrvtt_b16$"
    ):
        Encoder(model, "demo_tdsclip")
