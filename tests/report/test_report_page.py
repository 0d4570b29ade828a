"""The HTML report in a real browser: on a phone and a desk, in light and dark, on paper, by keyboard, to a screen reader."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from report_samples import ABUSE, DEFAULTS, TRIALS, crash, outcome, record, reported, simulated, trial

from tuner.report.content import Report
from tuner.report.html import report_html

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
SIZES = {"phone": (390, 844), "desk": (1280, 900)}
#: WCAG 2: of text, and of what is drawn.
TEXT, DRAWN = 4.5, 3.0
#: Every text with its own colour and that of the first background behind it, as a reader sees them.
_CONTRASTS = """() => {
  const rgb = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n }
  const light = c => { const f = c.slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    return .2126 * f[0] + .7152 * f[1] + .0722 * f[2] }
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05) }
  const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor)
    if (c[3] > 0) return c } return [255, 255, 255, 1] }
  const found = []
  for (const e of document.querySelectorAll('body *')) {
    const style = getComputedStyle(e), own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())
    const inSvg = e.closest('svg') !== null, name = e.tagName.toLowerCase()
    if (['title', 'desc', 'style'].includes(name)) continue
    const told = `${name}.${e.getAttribute('class') || ''}: ${e.textContent.trim().slice(0, 30)}`
    if (own) found.push(['text', ratio(rgb(inSvg ? style.fill : style.color), behind(e)), told])
    else if (inSvg && ['path', 'circle'].includes(name) && !['grid', 'window', 'edge', 'bar'].includes(e.getAttribute('class')))
      found.push(['drawn', ratio(rgb(style.stroke), behind(e)), told])
  }
  return found
}"""
_HEADINGS = "() => [...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(e => Number(e.tagName[1]))"
_WIDER = """() => [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll,svg,.skip')
  && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """With everything that a report can have, and long names."""
    long = trial(6, {"quantization": "a-very-long-name-of-a-quantization-" * 4}, crash("it fell " * 40, "a log\n" * 50))
    many = [trial(number, {"max_num_seqs": number}, outcome(800.0 + number, drawn=False)) for number in range(7, 40)]
    return reported(
        tmp_path_factory.mktemp("page"), record("everything", fingerprint=simulated()), [*TRIALS, long, *many]
    )


class Shown:
    """A report in a page, with whatever it asked the network for and said on the console."""

    def __init__(self, page: Page, file: Path) -> None:
        self.page, self.errors = page, list[str]()
        self.asked: list[str] = []
        page.on("console", lambda message: self.errors.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(file.as_uri())


@pytest.fixture
def shown(browser: Browser, tmp_path: Path) -> Iterator[Any]:
    pages = []

    def show(report: Report, size: str = "desk", scheme: Any = "light", **more: Any) -> Shown:
        file = tmp_path / "report.html"
        file.write_text(report_html(report), encoding="utf-8")
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **more)
        pages.append(context)
        return Shown(context.new_page(), file)

    yield show
    for context in pages:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_is_read_on_a_phone_and_a_desk_in_light_and_dark(shown: Any, report: Report, size: str, scheme: str) -> None:
    found = shown(report, size, scheme)
    page = found.page
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.evaluate(_WIDER)
    contrasts = page.evaluate(_CONTRASTS)
    kinds = [kind for kind, _, _ in contrasts]
    assert kinds.count("text") > 200
    assert kinds.count("drawn") > 40
    assert [one for one in contrasts if one[1] < (TEXT if one[0] == "text" else DRAWN)] == []
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    assert found.errors == []
    assert [url for url in found.asked if not url.endswith("report.html")] == []


def test_the_smallest_text_can_be_read_on_a_phone(shown: Any, report: Report) -> None:
    page = shown(report, "phone").page
    sizes = page.evaluate(
        """() => [...document.querySelectorAll('svg text')].map(e => e.getBoundingClientRect())
        .filter(r => r.height).map(r => r.height)"""
    )
    assert len(sizes) > 40
    assert min(sizes) >= 10


def test_the_verdict_is_on_the_first_screen_of_a_phone(shown: Any, report: Report) -> None:
    page = shown(report, "phone").page
    assert page.locator(".answer").bounding_box()["y"] < 844
    assert "SIMULATED" in page.title()
    assert page.locator(".unreal").bounding_box()["y"] < 1


def test_a_screen_reader_finds_its_way(shown: Any, report: Report) -> None:
    page = shown(report).page
    levels = page.evaluate(_HEADINGS)
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    for landmark in ("header", "nav[aria-label]", "main", "footer"):
        assert page.locator(landmark).count() == 1, landmark
    assert page.evaluate("document.documentElement.lang") == "en"
    drawings = page.locator("svg")
    assert drawings.count() > 8
    for drawing in drawings.all():
        named = drawing.get_attribute("aria-labelledby") or ""
        texts = [page.locator(f"#{one}").text_content() for one in named.split()]
        assert drawing.get_attribute("role") == "img"
        assert len(texts) == 2
        assert all(texts)
    for table in page.locator("table").all():
        assert table.locator("caption").count() == 1
        assert table.locator("thead th:not([scope=col])").count() == 0
        assert table.locator("tbody th:not([scope=row])").count() == 0
        assert table.locator("tbody tr").count() == table.locator("tbody th").count()
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    for target in page.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map(e => e.getAttribute('href').slice(1))"
    ):
        assert target in ids
    labels = page.evaluate("[...document.querySelectorAll('[role=region]')].map(e => e.getAttribute('aria-label'))")
    assert all(labels)


def test_the_keyboard_reaches_everything_and_shows_where_it_is(shown: Any, report: Report) -> None:
    page = shown(report, "phone").page
    page.keyboard.press("Tab")
    skip = page.locator(".skip")
    assert skip.evaluate("e => e === document.activeElement")
    assert skip.bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.url.endswith("#verdict")
    outlines, reached = [], set()
    for _ in range(60):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            "(() => { const e = document.activeElement; return [e.tagName, getComputedStyle(e).outlineStyle] })()"
        )
        if name != "BODY":
            reached.add(name)
            outlines.append(outline)
    assert {"PRE", "DIV", "SUMMARY"} <= reached
    assert "none" not in outlines


def test_marks_differ_by_shape_and_not_by_colour_alone(shown: Any, report: Report) -> None:
    page = shown(report).page
    shapes = page.evaluate(
        """() => Object.fromEntries(['measured', 'misses', 'early', 'failed', 'chosen'].map(kind => {
          const e = document.querySelector(`#progress .mark.${kind}`)
          return [kind, e.tagName + (e.getAttribute('r') || e.getAttribute('d').replace(/^M[^m]*/, ''))] }))"""
    )
    assert len(set(shapes.values())) == 5


def test_the_measured_window_is_shaded_where_it_was(shown: Any, report: Report) -> None:
    page = shown(report).page
    boxes = page.evaluate(
        """() => [...document.querySelectorAll('#time-lines svg')].map(s => ['.window', '.axis'].map(c => {
          const b = s.querySelector(c).getBBox(); return [b.x, b.width] }))"""
    )
    assert len(boxes) == 8  # four series of the defaults, and of the winner
    for (x, width), (left, whole) in boxes:
        assert abs(width / whole - 0.75) < 0.02  # the last 30 of 40 s
        assert abs(x + width - left - whole) < 1


def test_it_prints_on_pages_of_white(shown: Any, report: Report) -> None:
    page = shown(report, "desk", "dark").page
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert [one for one in page.evaluate(_CONTRASTS) if one[0] == "text" and one[1] < TEXT] == []
    made = page.pdf(format="A4")
    assert made.startswith(b"%PDF-")
    assert 3 <= made.count(b"/Type /Page\n") + made.count(b"/Type /Page/") + made.count(b"/Type /Page ") <= 15
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 less its margins
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.evaluate(_WIDER)


def test_nothing_of_others_runs_and_nothing_is_fetched(shown: Any, tmp_path: Path) -> None:
    for number, name in enumerate(ABUSE):
        made = tmp_path / str(number)
        made.mkdir()
        storable = name.encode("utf-8", "replace").decode().replace("\x00", "")
        params = {**DEFAULTS, "quantization": storable}
        trials = [*TRIALS, trial(6, params, crash(storable, storable)), trial(7, params, outcome(1450.0))]
        known = reported(made, record(storable, model=storable, workload=storable), trials)
        found = shown(replace(known, study=name, answer=name, cautions=(name,), command=name))
        page = found.page
        assert page.evaluate("document.querySelectorAll('script, img, iframe, link, object, b').length") == 0
        assert page.locator("h1").count() == 1
        assert page.locator("h2").count() == 11
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert found.errors == []
        assert [url for url in found.asked if not url.endswith("report.html")] == []


def test_its_policy_would_stop_a_script_and_a_picture(report: Report, tmp_path: Path, browser: Browser) -> None:
    """The policy is no decoration: what slipped through it would not run."""
    file = tmp_path / "slipped.html"
    slipped = '<script>document.title = "ran"</script><img src="https://example.org/x.png"><p style="color:red">'
    file.write_text(report_html(report).replace("<main>", f"<main>{slipped}"))
    context = browser.new_context()
    page, why = context.new_page(), dict[str, str | None]()
    page.on("requestfailed", lambda request: why.update({request.url: request.failure}))
    found = Shown(page, file)
    assert page.title() != "ran"
    assert why == {"https://example.org/x.png": "csp"}  # it was not sent
    assert len([error for error in found.errors if "Content Security Policy" in error]) == 3
    context.close()


def test_a_name_from_right_to_left_stays_in_its_place(shown: Any, report: Report) -> None:
    page = shown(replace(report, model="\u05de\u05d5\u05d3\u05dc/1.5B", unreal=None, unreal_sentence=None)).page
    assert page.locator("dd").first.text_content() == "\u05de\u05d5\u05d3\u05dc/1.5B"
    assert page.locator("dd").first.evaluate("e => getComputedStyle(e).unicodeBidi") in ("isolate", "plaintext")
