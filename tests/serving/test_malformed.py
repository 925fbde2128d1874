"""Requests that no program should send: each gets a sentence and a status of 4xx."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_server import send

from tokmerge_jax.serving.app import application
from tokmerge_jax.serving.catalogue import identify

ID = "0" * 32
KNOWN = identify("a.mp4")
HUGE = "9" * 400
ODD = [
    "", "%00", "%ff", "%ed%a0%80", "%f0%9f%98%80", "%", "%zz", "..", "%2e%2e%2f", "%252e%252e",
    "\\", "/etc/passwd", HUGE, f"-{HUGE}", "1e999", "nan", "inf", "-inf", "-1", "0", "1.5", "0x10",
    "null", "true", "[]", "{}", "'; DROP TABLE", "' OR 1=1 --", "2024-02-30", "9999-12-31",
    "0001-01-01", "1_0", "+", "%20", "a" * 5000, "%00".join("abc"), "\u202e", "<script>",
]  # fmt: skip
NAMES = ["q", "limit", "offset", "folder", "since", "until", "shortest", "longest", "rerank", "id"]
NAMES += ["start", "stop", "at", "width", "token", "Q", "", "%00", "q[]", "__proto__"]
PATHS = [
    "/",
    "/search",
    "/similar",
    "/health",
    "/openapi.json",
    f"/videos/{ID}",
    f"/thumbnail/{ID}",
]
REFUSED = [
    "/search", "/search?", "/search?q", "/search?q=", "/search?q=%ff", "/search?q=%00",
    "/search?q=a&x=1", "/search?q=a&limit=0", "/search?q=a&limit=201", f"/search?q=a&limit={HUGE}",
    "/search?q=a&limit=1.5", "/search?q=a&limit=1&limit=2", "/search?q=a&offset=-1",
    "/search?q=a&offset=9999&limit=2", "/search?q=a&shortest=nan", "/search?q=a&longest=inf",
    "/search?q=a&shortest=-1", "/search?q=a&since=yesterday", "/search?q=a&since=2024-02-30",
    "/search?q=a&since=0001-01-01", "/search?q=a&rerank=maybe", "/search?" + "q=a&" * 16 + "q=a",
    "/search?q=" + "a" * 1001, "/search?" + "q=a&" * 100, "/similar", f"/similar?id={ID}",
    f"/similar?id={ID}&start=0&stop=nan", f"/similar?id={ID}&start=0&stop=1",
    "/similar?id=..&start=0&stop=1", "/videos/", "/videos/..", "/videos/%2e%2e%2fsecret.mp4",
    "/videos/../../etc/passwd", "/videos//etc/passwd", "/videos/%00", "/videos/%ff",
    "/videos/a.mp4", f"/videos/{ID}", f"/videos/{ID}?x=1", f"/thumbnail/{ID}",
    f"/thumbnail/{KNOWN}?at=1e300", f"/thumbnail/{KNOWN}?at=nan",
    f"/thumbnail/{ID}?at=-1", f"/thumbnail/{ID}?width=0",
    f"/thumbnail/{ID}?width=99999", "/thumbnail/..%2f..", "/page/", "/page/../app.py",
    "/page/%2e%2e", "/page/..%2fapp.py", "/page/app.py", "/page/%00", "/health?x", "/none", "//",
    "/\u00e9",
]  # fmt: skip


@pytest.fixture(scope="module")
def ask(service):
    app = application(service)
    with asyncio.Runner() as runner:
        counter = iter(range(10**9))

        def ask(target, **how):
            return runner.run(send(app, target, client=str(next(counter)), **how))

        yield ask


def refused(answer):
    return 400 <= answer.status < 500 and [*answer.json] == ["error"] and answer.json["error"]


@pytest.mark.parametrize("target", REFUSED)
def test_a_request_that_cannot_be_served_is_one_sentence(ask, target):
    assert refused(ask(target))


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "QUERY", "X"]
)
@pytest.mark.parametrize("path", PATHS)
def test_methods_that_an_address_does_not_take(ask, path, method):
    answer = ask(path, method=method, body=b"{}")
    assert refused(answer)
    assert answer.status == (415 if (path, method) == ("/similar", "POST") else 405)


@pytest.mark.parametrize(
    "value",
    [
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=9-1",
        "lines=0-1",
        "bytes",
        f"bytes={HUGE}-",
        f"bytes={12 * HUGE}-",
        "\xff",
    ],
)
def test_ranges_that_mean_nothing(ask, value):
    assert refused(ask(f"/videos/{KNOWN}", headers={"range": value}))


@settings(max_examples=500)
@given(
    method=st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "BREW"]),
    path=st.one_of(
        st.sampled_from([*PATHS, f"/videos/{KNOWN}", f"/thumbnail/{KNOWN}"]),
        st.tuples(
            st.sampled_from(["/videos/", "/thumbnail/", "/page/", "/", "//"]), st.sampled_from(ODD)
        ).map("".join),
    ),
    pairs=st.lists(
        st.tuples(st.sampled_from(NAMES), st.sampled_from([*ODD, "a", KNOWN])), max_size=4
    ),
    headers=st.dictionaries(
        st.sampled_from(["range", "if-range", "if-none-match", "origin", "cookie", "content-type"]),
        st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=20),
        max_size=2,
    ),
)
def test_no_request_is_an_error_of_the_server(ask, method, path, pairs, headers):
    query = "&".join(f"{name}={value}" for name, value in pairs)
    answer = ask(f"{path}?{query}" if pairs else path, method=method, headers=headers)
    assert answer.status < 500
    if answer.status >= 400 and method != "HEAD":
        assert refused(answer)
