"""The server's answers: those of the search, in the words of the API."""

import asyncio
import io
import threading

import jsonschema
import pytest
from PIL import Image
from small_server import CLIPS, expected, send, send_all, spans
from starlette.routing import Route

from tokmerge_jax.own_videos.contents import Contents
from tokmerge_jax.own_videos.damage import damaged
from tokmerge_jax.own_videos.ranking import Hit
from tokmerge_jax.own_videos.running import Running
from tokmerge_jax.serving import files
from tokmerge_jax.serving.app import application
from tokmerge_jax.serving.batching import Batches
from tokmerge_jax.serving.catalogue import Catalogue, identify
from tokmerge_jax.serving.files import located

TEXTS = ["a red square moves left", "a white cross"]


def hits_of(client, target):
    (query,) = client.get(target).json()["queries"]
    return query["hits"]


def test_a_search_gives_the_hits_of_the_searcher(service, client):
    answer = client.get("/search", params={"q": TEXTS, "limit": 3}).json()
    assert [each["query"] for each in answer["queries"]] == TEXTS
    for each, hits in zip(
        answer["queries"], service.engine.searcher(TEXTS, 51, False), strict=True
    ):
        assert spans(each["hits"]) == expected(hits[:3])
        assert each["more"] == (len(hits) > 3)


@pytest.mark.slow
def test_a_search_is_re_ranked_if_asked(service, client, capsys):
    (hits,) = service.engine.searcher(TEXTS[:1])
    assert "re-ranking videos" in capsys.readouterr().err
    assert spans(hits_of(client, f"/search?q={TEXTS[0]}&rerank=true")) == expected(hits)
    assert hits[0].score is not None
    assert "re-ranking" not in capsys.readouterr().err  # a line for each question would be too many


def test_pages_follow_each_other(client):
    def page(offset, limit):
        (query,) = client.get(f"/search?q=cross&offset={offset}&limit={limit}").json()["queries"]
        return query["hits"], query["more"]

    everything, _ = page(0, 200)
    assert page(1, 2) == (everything[1:3], True)
    assert page(2, 50) == (everything[2:], False)
    assert page(9950, 50) == ([], False)


def test_moments_like_another_and_like_a_file(service, client):
    (hit, *_) = hits_of(client, "/search?q=cross")
    answer = client.get(
        "/similar", params={key: hit[key] for key in ("id", "start", "stop")}
    ).json()
    source = Hit(hit["path"], hit["start"], hit["stop"], 2.0, 0.0, None)
    assert spans(answer["hits"]) == expected(service.engine.searcher.like([source], 51)[0])
    assert hit["id"] not in {other["id"] for other in answer["hits"]} or not hit["whole"]
    gone = client.get("/similar", params={"id": hit["id"], "start": 100, "stop": 200})
    assert gone.status_code == 404
    assert gone.json() == {"error": "the index holds no such moment; search again"}


def test_the_state_of_the_index(service, client):
    health = client.get("/health").json()
    numbers = [health[name] for name in ("status", "videos", "windows", "broken", "folders")]
    assert numbers == ["ready", 4, 5, 1, ["2024", "2024/june"]]
    assert (health["system"], health["reranks"], health["indexing"]) == ("vid_tldr", True, None)
    with Running(service.engine.place, 10, done=4):
        indexing = {"done": 4, "total": 10, "seconds_left": None}
        assert client.get("/health").json()["indexing"] == indexing


def test_folders_are_found_beside_other_requests(service, monkeypatch):
    """Those of a million videos take a while, in which the loop of all requests would stand."""
    seen = []
    folders = Contents.folders
    monkeypatch.setattr(
        Contents, "folders", lambda held: seen.append(threading.get_ident()) or folders(held)
    )
    monkeypatch.setattr(service.engine, "catalogue", Catalogue(service.engine.place))
    health = asyncio.run(service.health())
    assert health.folders == ["2024", "2024/june"]
    assert len(seen) == 1
    assert threading.get_ident() not in seen


def test_a_video_and_its_thumbnail(service, client):
    (hit,) = hits_of(client, "/search?q=cross&folder=2024/june")
    assert (hit["path"], hit["whole"]) == (CLIPS[2], True)
    picture = client.get(hit["thumbnail"] + "&width=32")
    assert Image.open(io.BytesIO(picture.content)).format == "JPEG"
    assert Image.open(io.BytesIO(picture.content)).width == 32
    again = client.get(
        hit["thumbnail"] + "&width=32", headers={"if-none-match": picture.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    broken = service.engine.catalogue.name("broken.mkv")
    refused = client.get(f"/thumbnail/{broken}")
    assert (refused.status_code, refused.json()) == (404, {"error": "the video cannot be decoded"})


@pytest.mark.parametrize("what", ["videos", "thumbnail"])
def test_a_link_in_place_of_a_checked_video_is_not_followed(
    what, service, client, tmp_path, monkeypatch
):
    place, outside = service.engine.searcher.folder / CLIPS[0], tmp_path / "outside.mp4"

    def then_replaced(*given):
        checked = located(*given)
        place.rename(outside)
        place.symlink_to(outside)
        return checked

    monkeypatch.setattr(files, "located", then_replaced)
    try:
        answer = client.get(f"/{what}/{identify(CLIPS[0])}")
    finally:
        outside.replace(place)
    assert answer.status_code == 404


def test_ranges_are_the_bytes_of_the_file(service, client):
    (hit,) = hits_of(client, "/search?q=cross&folder=2024/june")
    content = (service.engine.searcher.folder / CLIPS[2]).read_bytes()

    def get(ranges=None, method="GET", **headers):
        given = {"range": ranges} if ranges else {}
        return client.request(method, hit["video"], headers={**given, **headers})

    whole, size = get(), len(content)
    assert (whole.content, whole.headers["content-type"]) == (content, "video/mp4")
    assert whole.headers["accept-ranges"] == "bytes"
    for ranges, first, last in (
        ("bytes=0-0", 0, 0),
        ("bytes=5-99", 5, 99),
        (f"bytes={size - 3}-", size - 3, size - 1),
        ("bytes=-7", size - 7, size - 1),
        (f"bytes=9-{10 * size}", 9, size - 1),
        (f"bytes=-{10 * size}", 0, size - 1),
    ):
        answer = get(ranges)
        assert (answer.status_code, answer.content) == (206, content[first : last + 1])
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}"
    several = get("bytes=0-4,10-19,-3")
    kind, _, boundary = several.headers["content-type"].partition("; boundary=")
    parts = several.content.split(b"--" + boundary.encode())[1:-1]
    assert kind == "multipart/byteranges"
    assert [part.partition(b"\r\n\r\n")[2][:-2] for part in parts] == [
        content[:5], content[10:20], content[-3:],
    ]  # fmt: skip
    tag = whole.headers["etag"]
    assert get("bytes=0-4", **{"if-range": tag}).content == content[:5]
    assert get("bytes=0-4", **{"if-range": '"other"'}).content == content
    beyond = get(f"bytes={size}-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    assert beyond.json() == {"error": "the range lies outside the file"}
    head = get("bytes=0-4", "HEAD")
    assert (head.status_code, head.content, head.headers["content-length"]) == (206, b"", "5")


def test_many_requests_at_a_time_share_few_programs(service):
    app, engine = application(service), service.engine
    texts = [f"a {colour} {shape}" for colour in ("red", "blue") for shape in ("square", "cross")]
    before = engine.texts.count
    answers = asyncio.run(
        send_all(app, [f"/search?q={texts[n % 4].replace(' ', '+')}" for n in range(200)])
    )
    assert {answer.status for answer in answers} == {200}
    assert engine.texts.count - before <= 14  # 200 / 16 = 12.5, and the first one may be alone
    rankings = engine.searcher(texts, 51, False)
    for number, answer in enumerate(answers):
        (query,) = answer.json["queries"]
        assert spans(query["hits"]) == expected(rankings[number % 4])


def test_a_full_queue_is_reported(service, monkeypatch):
    engine = service.engine
    full = Batches(engine._find, engine.texts._thread, size=16, waiting=2)
    monkeypatch.setattr(engine, "texts", full)
    app = application(service)
    answers = asyncio.run(send_all(app, ["/search?q=cross"] * 5))
    assert sorted(answer.status for answer in answers) == [200, 200, 503, 503, 503]
    refused = next(answer for answer in answers if answer.status == 503)
    assert (refused.json, refused.headers["retry-after"]) == (
        {"error": "too many requests are waiting; try again"}, "1",
    )  # fmt: skip


def test_a_damaged_index_is_reported_and_may_recover(service, monkeypatch, capsys):
    app, searcher = application(service), service.engine.searcher

    def fail(*_):
        raise damaged(service.engine.place, "cut")

    def ask():
        return asyncio.run(send(app, "/search?q=cross"))

    with monkeypatch.context() as patch:
        patch.setattr(type(searcher), "__call__", fail)
        refused = ask()
        assert refused.status == 503
        assert str(service.engine.place) not in refused.json["error"]
        assert "the output of the server says why" in refused.json["error"]
        assert "videos.lance is damaged" in capsys.readouterr().err
        assert (ask().status, capsys.readouterr().err) == (503, "")  # not opened at each request
    assert ask().status == 200


def test_an_index_that_is_made_anew_is_opened_again(service, monkeypatch):
    before = service.engine.searcher
    monkeypatch.setattr(service.engine, "_opened", (0, 0))
    monkeypatch.setattr(service.engine, "_rest", 0.0)
    assert asyncio.run(send(application(service), "/search?q=cross")).status == 200
    assert service.engine.searcher is not before


def test_the_document_describes_every_address_and_its_answers(service, client):
    document = client.get("/openapi.json").json()
    app = application(service)
    routes = {
        (route.path, method)
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    described = {
        (path, method.upper()) for path, methods in document["paths"].items() for method in methods
    }
    assert routes == described
    (hit, *_) = hits_of(client, "/search?q=cross")
    like = f"/similar?id={hit['id']}&start={hit['start']}&stop={hit['stop']}"
    for target, path in (
        ("/search?q=cross&q=square", "/search"), ("/health", "/health"), (like, "/similar"),
    ):  # fmt: skip
        content = document["paths"][path]["get"]["responses"]["200"]["content"]
        schema = {**content["application/json"]["schema"], "components": document["components"]}
        jsonschema.validate(client.get(target).json(), schema)
    (q,) = (
        each for each in document["paths"]["/search"]["get"]["parameters"] if each["name"] == "q"
    )
    assert (q["required"], q["in"], q["schema"]["type"]) == (True, "query", "array")


def test_the_page_is_there(client):
    assert client.get("/?q=anything").headers["content-type"] == "text/html; charset=utf-8"
    assert client.get("/page/index.html").content == client.get("/").content
    assert client.get("/page/none.js").status_code == 404
