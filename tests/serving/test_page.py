"""The page in a browser: what a reader does and sees, on screens wide and narrow."""

import contextlib
import urllib.parse

import pytest
import small_browser
from playwright.sync_api import Error, expect
from small_browser import FILMS, caption, faults

from tokmerge_jax.own_videos.filters import Filter

pytestmark = pytest.mark.slow

PATIENCE = 60_000  # ms; the cores may be busy
CARDS = ".moment"
DASH = "\N{EN DASH}"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    small_browser.chromium()  # or skips before any work
    expect.set_options(timeout=PATIENCE)
    folder = tmp_path_factory.mktemp("page")
    small_browser.write_films(folder / "videos")
    small_browser.index_films(folder / "videos", folder / "index")
    server = small_browser.Served(folder / "index")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def chromium():
    with small_browser.browser() as opened:
        yield opened


@pytest.fixture
def visit(served, chromium):
    """`visit(query, **options of the window)`: the page; it must raise no error."""
    with contextlib.ExitStack() as stack:
        errors = []

        def opened(asked="", **options):
            context = chromium.new_context(**{"reduced_motion": "reduce", **options})
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(PATIENCE)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("dialog", lambda dialog: errors.append(dialog.message))
            page.goto(served.address + asked)
            return page

        yield opened
    assert not errors


def hits_of(served, text, rerank=False, **where):
    """What the page has to show for a text."""
    return served.searcher([text], 200, rerank, Filter(**where))[0]


def search(page, text):
    page.locator("[name=q]").fill(text)
    expect(page.locator("#summary")).to_contain_text(f"“{text.split(';')[0]}”")


def paths(page):
    return page.locator(CARDS).evaluate_all("cards => cards.map(card => card.title)")


def wait(element, condition):
    """Waits for a condition of an element, in JavaScript."""
    element.evaluate(
        f"""element => new Promise((done) => {{
          const test = () => ({condition})(element) ? done() : setTimeout(test, 20);
          test();
        }})"""
    )


def answered(page, path, status, answer, **headers):
    """Answers requests for a path in place of the server."""
    page.route(
        f"**{path}*", lambda route: route.fulfill(status=status, json=answer, headers=headers)
    )


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_every_state_is_accessible_and_fits_the_window(visit, scheme, width):
    page = visit(color_scheme=scheme, viewport={"width": width, "height": 740})
    states = {
        "first visit": lambda: expect(page.locator("#welcome")).to_be_visible(),
        "results": lambda: search(page, "a red circle; a white cross"),
        "player": lambda: page.locator(CARDS).first.click(),
        "keys": lambda: (page.keyboard.press("Escape"), page.keyboard.press("?")),
        "nothing": lambda: (
            page.keyboard.press("Escape"),
            page.locator("[name=lasts]").select_option("shortest=3600"),
            expect(page.locator("#summary")).to_contain_text("No moment within the filters"),
        ),
        "refused": lambda: (
            answered(page, "/search", 401, {"error": "no token"}),
            page.locator("#clear").click(),
            expect(page.locator("#notice input")).to_be_visible(),
        ),
    }
    for state, reach in states.items():
        reach()
        assert (state, faults(page)) == (state, [])
        beyond = "document.documentElement.scrollWidth - innerWidth"
        assert (state, page.evaluate(beyond)) == (state, 0)


def test_a_first_visit(visit):
    page = visit()
    expect(page.locator("[name=q]")).to_be_focused()
    expect(page.locator("#about")).to_have_text("16 windows of 4 videos")
    page.locator("#welcome button").first.click()
    expect(page.locator(CARDS).first).to_be_visible()
    expect(page.locator("[name=q]")).to_have_value("a red circle moves left")


def test_hits_come_as_one_types_and_are_the_searchers(visit, served):
    page, text = visit(), caption(FILMS[1], 2)
    page.keyboard.type(text)
    hits = hits_of(served, text)
    expect(page.locator("#summary")).to_have_text(f"{len(hits)} moments for “{text}”, best first")
    assert paths(page) == [hit.path for hit in hits]
    times = page.locator(".span").all_text_contents()
    assert times == [f"0:0{hit.start:.0f} {DASH} 0:0{hit.stop:.0f}" for hit in hits]
    assert page.locator(".score").all_text_contents() == [f"{hit.cosine:.2f}" for hit in hits]
    wait(page.locator(f"{CARDS} img").first, "image => image.naturalWidth == 96")
    assert urllib.parse.parse_qs(page.url.partition("?")[2]) == {"q": [text]}
    assert page.title() == f"{text} {DASH} Video search"
    page.locator("[name=rerank]").check()
    expect(page.locator(".score").first).not_to_have_text(f"{hits[0].cosine:.2f}")
    assert paths(page) == [hit.path for hit in hits_of(served, text, rerank=True)]


def test_a_late_answer_to_an_earlier_text_is_dropped(visit):
    page, held = visit(), []
    page.route("**/search?q=a+red&*", lambda route: held.append(route))
    with page.expect_request("**/search?q=a+red&*"):
        page.locator("[name=q]").fill("a red")
    search(page, "a white cross")
    with contextlib.suppress(Error):  # the page has given it up
        held[0].continue_()
    page.wait_for_timeout(300)
    expect(page.locator("#summary")).to_contain_text("“a white cross”")


def test_a_click_plays_at_the_moment(visit):
    page = visit()
    search(page, caption(FILMS[0], 3))
    card = page.locator(f"{CARDS}[href$='#t=6,8']").first
    name = card.locator(".name").text_content()
    card.click()
    video = page.locator("video")
    wait(video, "video => video.currentTime > 6")
    assert video.evaluate("video => [video.paused, video.videoWidth]") == [False, 96]
    expect(page.locator("#title")).to_have_text(name)
    expect(page.locator(".when")).to_contain_text(f"0:06 {DASH} 0:08 · of 0:08")
    page.keyboard.press("Escape")
    expect(card).to_be_focused()
    assert video.evaluate("video => video.currentSrc == '' || video.readyState == 0")


def test_the_keyboard_alone(visit):
    page = visit()
    search(page, "a red circle")
    cards = page.locator(CARDS)
    for key, place in [("ArrowDown", 0), ("ArrowRight", 1), ("ArrowLeft", 0)]:
        page.keyboard.press(key)
        expect(cards.nth(place)).to_be_focused()
    page.keyboard.press("Enter")
    names = page.locator(".name").all_text_contents()
    for key, place in [("n", 1), ("n", 2), ("p", 1)]:
        page.keyboard.press(key)
        expect(page.locator("#title")).to_have_text(names[place])
    page.keyboard.press("Escape")
    expect(cards.nth(1)).to_be_focused()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(page.locator("[name=q]")).to_be_focused()


def test_filters_are_in_the_address_and_the_back_button_goes_back(visit, served):
    page = visit()
    every = len(hits_of(served, "a red circle"))
    some = len(hits_of(served, "a red circle", folder="2024/june"))
    search(page, "a red circle")
    page.locator("[name=folder]").select_option("2024/june")
    expect(page.locator(CARDS)).to_have_count(some)
    assert {*paths(page)} == {*FILMS[:2]}
    assert page.url == f"{served.address}?q=a+red+circle&folder=2024%2Fjune"
    page.locator("[name=q]").fill("a white cross")
    page.keyboard.press("Enter")
    expect(page.locator("#summary")).to_contain_text("“a white cross”")
    for folder, count in [("2024/june", some), ("", every)]:
        page.go_back()
        expect(page.locator("[name=folder]")).to_have_value(folder)
        expect(page.locator("[name=q]")).to_have_value("a red circle")
        expect(page.locator(CARDS)).to_have_count(count)
    page.go_back()
    expect(page.locator("#welcome")).to_be_visible()
    shared = visit("?q=a+red+circle&folder=2024%2Fjune&longest=10")
    expect(shared.locator(CARDS)).to_have_count(some)
    expect(shared.locator("[name=lasts]")).to_have_value("longest=10")
    shared.locator("#clear").click()
    expect(shared.locator(CARDS)).to_have_count(every)


def test_several_texts(visit, served):
    page = visit()
    search(page, "a red circle; a white cross")
    for text in ("a red circle", "a white cross"):
        page.get_by_label(text, exact=True).check(force=True)
        expect(page.locator("#summary")).to_contain_text(f"“{text}”")
        assert paths(page) == [hit.path for hit in hits_of(served, text)]


def test_a_clip_a_picture_and_a_moment_as_the_query(visit, served):
    page = visit()
    clip = served.searcher.folder / FILMS[2]
    page.locator("#file").set_input_files(clip)
    expect(page.locator("#summary")).to_contain_text("“c.mp4”")
    expect(page.locator("#rerank")).to_be_hidden()
    (hits,) = served.searcher.like([str(clip)], 200)
    assert paths(page) == [hit.path for hit in hits]
    page.locator(CARDS).first.click()
    page.locator(".like").click()
    expect(page.locator("#summary")).to_contain_text("at 0:")
    assert "id=" in page.url
    assert paths(page)[0] != ""
    page.go_back()
    expect(page.locator("#summary")).to_contain_text("“c.mp4”")
    page.get_by_role("button", name="Remove the example").click()
    expect(page.locator("#welcome")).to_be_visible()


DROP = """([name, type]) => {
  const data = new DataTransfer();
  data.items.add(new File(["a"], name, { type }));
  const how = { dataTransfer: data, bubbles: true, cancelable: true };
  for (const kind of ["dragover", "drop"]) document.body.dispatchEvent(new DragEvent(kind, how));
}"""


def test_dropped_files(visit):
    page = visit()
    answered(page, "/similar", 200, {"hits": [], "more": False, "seconds": 0})
    page.evaluate(DROP, ["a.txt", "text/plain"])
    expect(page.locator("#notice p")).to_have_text("a.txt is neither a picture nor a video.")
    with page.expect_request("**/similar?offset=0&limit=60") as request:
        page.evaluate(DROP, ["a.png", "image/png"])
    assert request.value.header_value("content-type") == "image/png"
    expect(page.locator("#summary")).to_have_text("No moment for “a.png”.")
    expect(page.locator("#drop")).to_be_hidden()


def test_a_name_of_a_file_is_never_markup(visit):
    page = visit()
    search(page, caption(FILMS[3], 1))
    card = page.locator(f'{CARDS}[title="{FILMS[3]}"]').first
    expect(card.locator(".name")).to_have_text(FILMS[3])
    card.click()
    expect(page.locator("#title")).to_have_text(FILMS[3])
    page.locator(".like").click()
    expect(page.locator("#summary")).to_contain_text(FILMS[3])
    assert page.locator("img[src=x]").count() == 0


def test_a_video_that_the_browser_cannot_play(visit):
    page = visit()
    noise = {"body": "no video", "content_type": "video/mp4"}
    page.route("**/videos/*", lambda route: route.fulfill(**noise))
    search(page, "a red circle")
    card = page.locator(CARDS).first
    address = (card.get_attribute("href") or "").partition("#")[0]
    card.click()
    expect(page.locator(".fault")).to_contain_text("This browser cannot play this kind of video")
    expect(page.locator(".load")).to_have_attribute("href", address)


def test_the_server_stops_and_comes_back(visit, served):
    page = visit()
    search(page, "a red circle")
    served.stop()
    try:
        page.locator("[name=q]").fill("a white cross")
        expect(page.locator("#notice")).to_contain_text("The server cannot be reached")
    finally:
        served.start()
    expect(page.locator("#summary")).to_contain_text("“a white cross”")
    expect(page.locator("#notice")).to_be_hidden()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(visit, served, status):
    page = visit()
    answered(page, "/search", status, {"error": "too many requests"}, **{"Retry-After": "1"})
    page.locator("[name=q]").fill("a red circle")
    expect(page.locator("#notice")).to_contain_text("busy: too many requests. Trying again in 1 s")
    page.unroute("**/search*")
    expect(page.locator(CARDS)).to_have_count(len(hits_of(served, "a red circle")))
    expect(page.locator("#notice")).to_be_hidden()


def test_the_progress_of_a_running_index(visit):
    page = visit()
    health = {"videos": 3, "windows": 0, "broken": 2, "reranks": False, "folders": []}
    run = {"done": 3, "total": 1200, "seconds_left": 250}
    answered(page, "/health", 200, {**health, "indexing": run})
    page.reload()
    expect(page.locator("#indexing")).to_contain_text(
        "Indexing: 3 of 1,200 videos, about 4 min left"
    )
    assert page.locator("progress").evaluate("bar => bar.position") == 3 / 1200
    expect(page.locator("#about")).to_have_text("0 windows of 3 videos · 2 files could not be read")


def test_ten_thousand_hits(visit):
    page = visit()
    moment = {"id": "a", "start": 1, "stop": 2, "duration": 9, "cosine": 0.5, "score": None}
    links = {"whole": False, "video": "/videos/a", "thumbnail": "/thumbnail/a?at=1"}

    def answer(route):
        asked = urllib.parse.parse_qs(urllib.parse.urlparse(route.request.url).query)
        offset, limit = int(asked["offset"][0]), int(asked["limit"][0])
        hits = [{"path": f"{n}.mp4", **moment, **links} for n in range(offset, offset + limit)]
        ranking = {"query": "a", "hits": hits, "more": True}
        route.fulfill(json={"queries": [ranking], "seconds": 0})

    page.route("**/search?*", answer)
    page.route("**/thumbnail/*", lambda route: route.abort())
    page.locator("[name=q]").fill("a")
    scrolled = "() => (scrollTo(0, 1e9), document.querySelectorAll('.moment').length == 10000)"
    wait(page.locator("body"), scrolled)
    expect(page.locator("#more")).to_be_hidden()
    assert paths(page) == [f"{n}.mp4" for n in range(10_000)]
