"""Who is let in: hosts, other sites, tokens, rates, sizes."""

import asyncio
import hashlib
import socket
import urllib.parse

import pytest
from small_server import send
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tokmerge_jax.serving import guard, server

TOKEN = "0123456789+/=~_token"
COOKIE = f"tokmerge_{hashlib.blake2b(TOKEN.encode(), digest_size=4).hexdigest()}"


async def reply(request):
    await request.body()
    return PlainTextResponse("in")


def application(token=None):
    routes = [Route(path, reply, methods=["GET", "POST"]) for path in ("/", "/search")]
    return Starlette(routes=routes, middleware=guard.middleware(token))


def ask(target="/search", token=None, **how):
    return asyncio.run(send(application(token), target, **how))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("localhost:8000", 200), ("127.0.0.1:1", 200), ("[::1]:8000", 200),
        ("LOCALHOST", 200), ("evil.example", 400), ("localhost.evil.example", 400),
        ("127.0.0.1.evil.example:8000", 400), ("evil.example:80@localhost", 400), ("", 400),
        ("localhost:8000:9", 400), ("[", 400), ("\xff", 400), ("0.0.0.0:8000", 400),
    ],
)  # fmt: skip
def test_a_name_that_another_site_may_own_is_refused(host, status):
    answer = ask(headers={"host": host})
    assert answer.status == status
    assert (
        answer.body == b"in" if status == 200 else answer.json == {"error": "Invalid host header"}
    )
    assert ask(token=TOKEN, headers={"host": host}).status == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://localhost:8000"}, 200),
        ({"origin": "https://localhost:8000"}, 200),  # a proxy may speak TLS
        ({"origin": "http://localhost:9000"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}, 200),  # a link
        ({"sec-fetch-site": "cross-site", "sec-fetch-dest": "iframe"}, 403),
    ],
)
def test_what_other_sites_send_is_refused(headers, status):
    assert ask(headers=headers).status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": f"Bearer {TOKEN}"}, 200),
        ({"authorization": f"bearer  {TOKEN}"}, 200),
        ({"authorization": f"Basic {TOKEN}"}, 401),
        ({"authorization": f"Bearer {TOKEN}x"}, 401),
        ({"authorization": f"Bearer {TOKEN[:-1]}"}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": "Bearer \xff"}, 401),
        ({"cookie": f"a=b; {COOKIE}={TOKEN}"}, 200),
        ({"cookie": f"{COOKIE}="}, 401),
        ({"cookie": f"other={TOKEN}"}, 401),
    ],
)
def test_a_token_opens(headers, status):
    answer = ask(token=TOKEN, headers={"host": "search.example", **headers})
    assert answer.status == status
    assert (answer.headers.get("www-authenticate") == "Bearer") == (status == 401)


def test_the_address_with_the_token_sets_a_cookie():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = server.address(listening, TOKEN)
    answer = ask(f"/?{address.partition('?')[2]}", token=TOKEN)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie, _, rest = answer.headers["set-cookie"].partition("; ")
    assert rest == "HttpOnly; Path=/; SameSite=strict"
    assert ask(token=TOKEN, headers={"cookie": cookie}).status == 200
    assert ask("/?token=wrong", token=TOKEN).status == 401
    assert ask(f"/search?token={TOKEN}", token=TOKEN).status == 401


def test_servers_at_ports_of_one_host_keep_their_cookies():
    tokens = [TOKEN, "another_token_of_16"]
    browser = dict[str, str]()  # a host's cookies, by name
    for token in tokens:
        answer = ask(f"/?{urllib.parse.urlencode({'token': token})}", token=token)
        name, _, value = answer.headers["set-cookie"].partition(";")[0].partition("=")
        browser[name] = value
    cookies = "; ".join(map("=".join, browser.items()))
    assert [ask(token=token, headers={"cookie": cookies}).status for token in tokens] == [200] * 2


def test_a_client_that_asks_too_often_waits():
    times = iter([0.0] * 2001 + [0.25] * 51)
    app = guard.Rate(Starlette(routes=[Route("/", reply)]), clock=lambda: next(times))

    async def statuses(count):
        return [(await send(app, "/", client="a")).status for _ in range(count)]

    assert asyncio.run(statuses(2001)) == [200] * 2000 + [429]
    assert asyncio.run(statuses(51)) == [200] * 50 + [429]


def test_clients_have_rates_of_their_own():
    app = guard.Rate(Starlette(routes=[Route("/", reply)]), clock=lambda: 0.0)

    async def last(client, count):
        for _ in range(count):
            answer = await send(app, "/", client=client)
        return answer

    refused = asyncio.run(last("a", 2001))
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert asyncio.run(last("b", 1)).status == 200


def test_large_requests_are_refused():
    length = str(64 * 2**20 + 1)
    answer = ask(method="POST", headers={"content-length": length})
    assert (answer.status, answer.json) == (413, {"error": "the request is too large"})
    assert ask(method="POST", headers={"content-length": "5"}, body=b"abcde").status == 200


def test_answers_are_kept_from_other_sites():
    for answer in (ask(), ask(headers={"host": "evil.example"}), ask(token=TOKEN)):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        policy = answer.headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= {*policy}
