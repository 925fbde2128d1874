"""Pictures and clips that are sent to be compared: their limits, and what stays of them."""

import asyncio
import pathlib
import re
import threading
import time

import clips
import numpy as np
from small_server import expected, send, send_all, spans

from tokmerge_jax.data.video import decode
from tokmerge_jax.serving import app as module
from tokmerge_jax.serving import service as serving
from tokmerge_jax.serving.app import application


def test_an_upload_is_compared_and_removed(service, client, tmp_path, monkeypatch):
    numbers, seen = np.ones(128, np.float32), []

    def encoded(file, _):
        seen.append(pathlib.Path(file).read_bytes())
        return numbers

    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(service.engine.searcher, "encoded", encoded)
    kind = {"content-type": "image/png"}
    answer = client.post("/similar?limit=2", content=b"picture", headers=kind)
    assert spans(answer.json()["hits"]) == expected(service.engine.searcher.like([numbers])[0][:2])
    assert seen == [b"picture"]
    assert not [*tmp_path.iterdir()]
    assert client.post("/similar", content=b"picture").status_code == 415


def test_uploads_are_decoded_one_by_one(service, monkeypatch):
    now, most = [], []

    def encoded(file, _):
        now.append(file)
        most.append(len(now))
        time.sleep(0.02)
        now.remove(file)
        return np.ones(128, np.float32)

    monkeypatch.setattr(service.engine.searcher, "encoded", encoded)
    how = {"method": "POST", "headers": {"content-type": "image/png"}, "body": b"picture"}
    answers = asyncio.run(send_all(application(service), ["/similar"] * 4, **how))
    assert [answer.status for answer in answers] == [200] * 4
    assert most == [1] * 4


def test_other_questions_are_answered_while_an_upload_is_decoded(service, monkeypatch):
    begun, answered = threading.Event(), threading.Event()

    def encoded(*_):
        begun.set()
        assert answered.wait(30)
        return np.ones(128, np.float32)

    monkeypatch.setattr(service.engine.searcher, "encoded", encoded)
    app = application(service)

    async def ask():
        kind = {"content-type": "image/png"}
        upload = asyncio.create_task(send(app, "/similar", "POST", kind, b"picture"))
        assert await asyncio.to_thread(begun.wait, 30)
        other = await send(app, "/search?q=cross")
        assert not upload.done()
        answered.set()
        return other.status, (await upload).status

    assert asyncio.run(ask()) == (200, 200)


def test_an_upload_of_too_many_frames_is_refused_before_they_are_decoded(
    client, tmp_path, monkeypatch
):
    clips.write(tmp_path / "many.mp4", clips.draw(200, 16, 16), gop=1)
    seen = []
    decoded = decode.Video._decoded

    def counted(video, packet):
        seen.append(packet)
        return decoded(video, packet)

    monkeypatch.setattr(decode.Video, "_decoded", counted)
    monkeypatch.setattr(serving, "_FRAMES", 20)
    content = (tmp_path / "many.mp4").read_bytes()
    answer = client.post("/similar", content=content, headers={"content-type": "video/mp4"})
    assert answer.status_code == 400
    assert answer.json() == {"error": "the body has over 20 frames; shorten it"}
    assert 0 < len(seen) <= 20


def test_uploads_are_bounded(service, monkeypatch):
    monkeypatch.setattr(module, "_UPLOADS", 0)
    kind = {"content-type": "image/png"}
    answer = asyncio.run(send(application(service), "/similar", method="POST", headers=kind))
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


def test_an_upload_that_ends_early_is_no_error_of_the_server(service, tmp_path, monkeypatch):
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    how = {"method": "POST", "headers": {"content-type": "image/png"}, "ends_early": True}
    assert asyncio.run(send(application(service), "/similar", **how)).status == 400
    assert not [*tmp_path.iterdir()]


def test_an_upload_that_is_no_picture_is_one_sentence(client):
    refused = client.post("/similar", content=b"text", headers={"content-type": "image/png"})
    assert refused.status_code == 400
    assert re.fullmatch(r"the body: cannot be decoded \(.*\)", refused.json()["error"])
