"""The server's answers: those of the search, in the words of the API."""

import pytest
import small_server
from small_server import CLIPS
from starlette.testclient import TestClient

from tokmerge_jax.serving.app import application
from tokmerge_jax.serving.engine import Engine

TEXTS = ["a red square moves left", "a white cross"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    small_server.write_clips(folder / "videos")
    small_server.make_index(folder / "videos", folder / "index")
    return Engine(folder / "index")


@pytest.fixture(scope="module")
def client(engine):
    with TestClient(application(engine), base_url="http://127.0.0.1") as client:
        yield client


def test_a_search_gives_the_hits_of_the_searcher(engine, client):
    answer = client.get("/search", params={"q": TEXTS, "limit": 4}).json()
    assert [each["query"] for each in answer["queries"]] == TEXTS
    for each, hits in zip(answer["queries"], engine.searcher(TEXTS, 51, False), strict=True):
        assert [
            (hit["path"], hit["start"], hit["stop"], hit["cosine"]) for hit in each["hits"]
        ] == [(hit.path, hit.start, hit.stop, hit.cosine) for hit in hits[:4]]
        assert each["more"] == (len(hits) > 4)
        assert {hit["score"] for hit in each["hits"]} == {None}


def test_pages_follow_each_other(client):
    def page(offset, limit):
        (query,) = client.get(f"/search?q=cross&offset={offset}&limit={limit}").json()["queries"]
        return query["hits"], query["more"]

    everything, _ = page(0, 200)
    assert page(1, 2) == (everything[1:3], True)
    assert page(2, 50) == (everything[2:], False)
    assert page(100, 50) == ([], False)


def test_the_state_of_the_index(client):
    health = client.get("/health").json()
    assert (health["status"], health["videos"], health["windows"], health["broken"]) == (
        "ready", 4, 5, 1,
    )  # fmt: skip
    assert health["folders"] == ["2024", "2024/june"]
    assert (health["system"], health["reranks"], health["indexing"]) == ("vid_tldr", True, None)


def test_a_video_and_its_thumbnail(engine, client):
    (query,) = client.get("/search?q=cross&folder=2024/june").json()["queries"]
    (hit,) = query["hits"]
    assert (hit["path"], hit["whole"]) == (CLIPS[2], True)
    content = (engine.searcher.folder / CLIPS[2]).read_bytes()
    assert client.get(hit["video"]).content == content
    picture = client.get(hit["thumbnail"])
    assert picture.headers["content-type"] == "image/jpeg"
    again = client.get(hit["thumbnail"], headers={"if-none-match": picture.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_page_is_there(client):
    assert client.get("/").headers["content-type"] == "text/html; charset=utf-8"
    assert client.get("/page/index.html").content == client.get("/").content
