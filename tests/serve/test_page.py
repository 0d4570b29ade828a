"""The page in a real browser, on a service that refuses, is slow, breaks and vanishes when it is told to."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browsing import REFUSED, browser, faults, tab
from fake_api import FAILED, MARKUP, FakeApi, served, study, trial
from playwright.sync_api import Browser, Page, expect
from waiting import in_a_calm_moment, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
#: What Chromium says of a report that asks for something.
KEPT_IN = ("Connecting to", "Fetch API cannot load", "Refused to connect")
PROPOSAL: dict[str, Any] = {
    "id": 7,
    "state": "open",
    "urls": ["http://127.0.0.1:8000"],
    "drift": f"Prompts are 4 times as long as they were: {MARKUP}",
    "study_before": "live",
    "study_after": "live",
    "trial": 2,
    "verdict": f"Trial 2 is better: {MARKUP}",
    "gain": 0.12,
    "settings_changes": [
        {"name": "max_num_seqs", "before": "64", "after": "128"},
        {"name": "quantization", "before": None, "after": MARKUP},
    ],
    "workload_changes": [{"name": "input tokens, mean", "before": "256", "after": "1024"}],
    "created_at": "2026-11-29T08:00:00+00:00",
    "log": [{"at": "2026-11-29T08:00:00+00:00", "who": MARKUP, "what": "drifted", "why": MARKUP}],
}


@pytest.fixture(scope="module")
def chrome(chromium: str) -> Iterator[Browser]:
    with browser(chromium) as started:
        yield started


@pytest.fixture
def api() -> FakeApi:
    trials = [trial(0, 1000.0), trial(1, 3000.0, marks=["unsteady"]), trial(2, 2000.0), FAILED]
    return FakeApi(trials={"live": trials, MARKUP: trials}, proposals=[dict(PROPOSAL)])


@pytest.fixture
def url(api: FakeApi) -> Iterator[str]:
    with served(api) as found:
        yield found


def numbers(page: Page) -> list[str]:
    return page.locator("table.trials tbody th").all_inner_texts()


def watched(page: Page, api: FakeApi) -> None:
    page.goto("/#/study/live")
    expect(page.get_by_role("heading", level=1)).to_have_text("live")
    wait_for(lambda: api.watchers() == 1)


def test_nothing_that_a_name_or_a_message_has_is_read_as_markup(chrome: Browser, api: FakeApi, url: str) -> None:
    api.studies |= {
        MARKUP: study(MARKUP, message=MARKUP, verdict={"answer": MARKUP, "sentence": MARKUP, "trial": 1, "gain": 0.1})
    }
    with tab(chrome, url) as page:
        page.on("dialog", lambda one: pytest.fail(one.message))
        page.goto("/")
        page.get_by_role("link", name=MARKUP).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(MARKUP)
        assert page.title() == f"{MARKUP} – tuner"
        expect(page.locator("tr.failed")).to_contain_text(MARKUP)
        wait_for(lambda: api.watchers() == 1)
        api.push("note", {"text": MARKUP})
        api.push("state", {"phase": MARKUP, "trial": 4, "of": 10})
        page.get_by_text("Notes", exact=True).click()
        expect(page.get_by_role("list", name="Notes")).to_have_text(MARKUP)
        expect(page.locator(".phase")).to_contain_text(MARKUP)
        page.goto("/#/proposals/7")
        expect(page.get_by_role("table", name="Settings")).to_contain_text(MARKUP)
        expect(page.get_by_role("region", name="What happened")).to_contain_text(MARKUP)
        assert page.locator("img, script:not([src])").count() == 0


def test_a_running_study_is_seen_live_and_its_phases_are_said_but_not_its_numbers(
    chrome: Browser, api: FakeApi, url: str
) -> None:
    with tab(chrome, url) as page:
        watched(page, api)
        expect(page.get_by_role("note")).to_contain_text("SIMULATED")
        page.evaluate("""() => {
            globalThis.said = [];
            const see = () => said.push(document.getElementById("said").textContent);
            const all = { childList: true, characterData: true, subtree: true };
            new MutationObserver(see).observe(document.getElementById("said"), all);
            globalThis.moved = 0;
            const count = (list) => list.getEntries().forEach((one) => (moved += one.value));
            new PerformanceObserver(count).observe({ type: "layout-shift" });
        }""")
        for number in range(40):
            api.push(
                "state",
                {"phase": "measuring", "trial": 4, "of": 10, "output_throughput": 2000 + number, "past_s": number},
            )
        expect(page.locator(".figures")).to_contain_text("2,039.0 tok/s")
        expect(page.locator(".phase")).to_have_text("Trial 4 of 10: measuring 39 s")
        api.push(
            "state", {"phase": "starting", "trial": 5, "of": 10, "output_throughput": None, "gpu_utilization": 0.5}
        )
        expect(page.locator(".figures")).to_contain_text("50 %")
        for number in range(20):
            api.push(
                "state",
                {"phase": f"predicting settings: {number} of 105", "trial": 5, "of": 10, "gpu_utilization": 0.5},
            )
        expect(page.locator(".phase")).to_have_text("Trial 5 of 10: predicting settings: 19 of 105")
        told = ["Trial 4 of 10: measuring", "Trial 5 of 10: starting", "Trial 5 of 10: predicting settings: 0 of 105"]
        assert page.evaluate("said") == told
        assert "trial 4, 2,039.0 tok/s" in str(page.get_by_role("img").get_attribute("aria-label"))
        assert page.locator("svg path.line").get_attribute("d", timeout=5000)
        api.trials["live"].append(trial(4, 4000.0))
        api.push("trial", trial(4, 4000.0))
        expect(page.locator("table.trials tbody tr")).to_have_count(5)
        api.studies["live"] |= {
            "state": "finished",
            "verdict": {"answer": "better", "sentence": "It is.", "trial": 4, "gain": 0.28},
        }
        assert page.evaluate("moved") < 0.02
        api.push("study", api.studies["live"])
        expect(page.get_by_role("region", name="Verdict")).to_contain_text("+28.0 %")
        expect(page.get_by_role("region", name="Now")).to_be_hidden()
        expect(page.locator("tr.chosen-by-study")).to_contain_text("Recommended")
        wait_for(lambda: api.watchers() == 0)


def test_a_stream_that_breaks_goes_on_from_its_last_event(chrome: Browser, api: FakeApi, url: str) -> None:
    with tab(chrome, url, meant=(REFUSED,)) as page:
        watched(page, api)
        api.push("note", {"text": "first"})
        expect(page.locator(".notes li")).to_have_count(1)
        api.is_gone = True
        api.cut()
        expect(page.locator("#offline")).to_be_visible()
        expect(page.get_by_text("The connection is lost")).to_be_visible()
        wait_for(lambda: api.watchers() == 0)
        api.push("note", {"text": "second"})
        api.is_gone = False
        expect(page.locator(".notes li")).to_have_text(["second", "first"])
        expect(page.locator("#offline")).to_be_hidden()
        resumed = [
            headers for _, path, headers, _ in api.asked if path.endswith("/events") and "Last-Event-ID" in headers
        ]
        assert resumed[-1]["Last-Event-ID"] == "1"


def test_events_in_whatever_pieces_they_come(chrome: Browser, api: FakeApi, url: str) -> None:
    with tab(chrome, url) as page:
        page.goto("/")
        found = page.evaluate(r"""async () => {
            const { parser } = await import("/page/stream.js");
            const text = ": hello\r\nid: 5\r\nevent: note\r\ndata: one\r\ndata:two\r\n\r\ndata: three\r\rid\n\n"
                + "retry: 7\nevent: x\n\n";
            const told = [];
            for (const size of [1, 2, 3, 7, 1000]) {
                const events = [], place = { id: null, wait: 1 };
                const read = parser(place, (name, data) => events.push([name, data]));
                for (let at = 0; at < text.length; at += size) read(text.slice(at, at + size));
                told.push([events, place.id, place.wait]);
            }
            return told;
        }""")
        assert found == [[[["note", "one\ntwo"], ["message", "three"]], "", 7]] * 5


def test_the_token_is_asked_for_kept_in_this_tab_alone_and_sent_as_a_header(
    chrome: Browser, api: FakeApi, url: str
) -> None:
    api.token = "s3cret"
    with tab(chrome, url, meant=(REFUSED, *KEPT_IN)) as page:
        page.goto("/#/study/live")
        dialog = page.get_by_role("dialog", name="This service needs a token")
        expect(dialog.get_by_label("Token")).to_be_focused()
        assert faults(page) == []
        page.keyboard.press("Escape")
        expect(page.get_by_role("heading", level=1)).to_have_text("A token is needed")
        page.get_by_role("button", name="Give a token").click()
        dialog.get_by_label("Token").fill("wrong")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("That token was refused")
        dialog.get_by_label("Token").fill("s3cret")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("live")
        wait_for(lambda: api.watchers() == 1)
        kept = page.evaluate("[Object.values(sessionStorage), localStorage.length, document.cookie, location.href]")
        assert kept == [["s3cret"], 0, "", f"{url}/#/study/live"]
        assert not any("s3cret" in path for _, path, _, _ in api.asked)
        with page.expect_download() as found:
            page.get_by_role("link", name="yaml").click()
        assert found.value.suggested_filename == "yaml-trial-2.txt"
        page.get_by_role("link", name="Open the report").click()
        expect(page.frame_locator("iframe").locator("#told")).to_have_text("A report that ran")
        page.reload()
        expect(page.get_by_role("heading", level=1)).to_have_text("Report of live")
        other = page.context.new_page()
        other.goto("/")
        expect(other.get_by_role("dialog")).to_be_visible()


def test_a_report_runs_where_it_can_reach_nothing(chrome: Browser, api: FakeApi, url: str) -> None:
    with tab(chrome, url, meant=KEPT_IN) as page:
        page.goto("/#/study/live/report")
        frame = page.frame_locator("iframe")
        expect(frame.locator("#told")).to_have_text("A report that ran")
        assert frame.locator("#told").evaluate("(one) => getComputedStyle(one).color") == "rgb(1, 2, 3)"
        assert frame.locator("body").get_attribute("data-apart") == "yes"
        assert frame.locator("body").get_attribute("data-silent") == "yes"
        assert page.title() == "Report of live – tuner"
        assert frame.locator("body").evaluate("() => origin") == "null"
        assert page.locator("iframe").get_attribute("sandbox") == "allow-scripts"


@pytest.mark.parametrize(
    ("refusal", "label"),
    [
        ((422, {"error": "trials is 5000, and 1000 are the most here"}), "Trials"),
        ((422, {"error": "slo: unknown metric 'ttfp': use ttft"}), "Limits"),
        ((422, {"error": "--users must be 1 or more"}), "Users"),
        ((409, {"error": f"there is a study {MARKUP} already"}), "Name"),
        ((422, {"error": "that is not allowed", "field": "workload"}), "Workload"),
        ((429, {"error": "100 studies are waiting already"}), None),
    ],
)
def test_what_is_not_allowed_is_said_at_its_field_in_the_servers_words(
    chrome: Browser, api: FakeApi, url: str, refusal: tuple[int, dict[str, Any]], label: str | None
) -> None:
    api.refusal = refusal
    with tab(chrome, url, meant=(REFUSED,)) as page:
        page.goto("/#/new")
        page.get_by_role("button", name="Start the study").click()
        if label is None:
            expect(page.get_by_role("alert")).to_have_text(refusal[1]["error"])
        else:
            field = page.get_by_label(label, exact=True)
            expect(field).to_be_focused()
            expect(field).to_have_attribute("aria-invalid", "true")
            expect(field).to_have_accessible_description(re.compile(re.escape(refusal[1]["error"])))
        assert faults(page) == []


def test_a_study_is_started_with_the_keyboard_alone(chrome: Browser, api: FakeApi, url: str) -> None:
    with tab(chrome, url) as page:
        page.goto("/")
        expect(page.get_by_role("table", name="Studies")).to_be_visible()
        reach(page, lambda: page.evaluate("document.activeElement.textContent") == "Start a study")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1, name="Start a study")).to_be_focused()
        reach(page, lambda: page.evaluate("document.activeElement.id") == "engine")
        page.keyboard.press("ArrowDown")
        reach(page, lambda: page.evaluate("document.activeElement.id") == "trials")
        page.keyboard.press("Control+A")
        page.keyboard.type("3")
        reach(page, lambda: page.evaluate("document.activeElement.id") == "slo")
        page.keyboard.type("ttft_p99=1s\n\n tpot_p99=50ms ")
        reach(page, lambda: page.evaluate("document.activeElement.id") == "study")
        page.keyboard.type("mine")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1, name="mine")).to_be_focused()
        (body,) = api.posted("/studies")
        assert (body["engine"], body["trials"], body["study"]) == ("sim", 3, "mine")
        assert body["slo"] == ["ttft_p99=1s", "tpot_p99=50ms"]
        assert "users" not in body
        page.go_back()
        expect(page.get_by_role("heading", level=1)).to_have_text("Start a study")
        page.go_back()
        expect(page.get_by_role("heading", level=1)).to_have_text("Studies")
        page.go_forward()
        expect(page.get_by_role("heading", level=1)).to_have_text("Start a study")


def reach(page: Page, arrived: Callable[[], bool]) -> None:
    for _ in range(40):
        page.keyboard.press("Tab")
        if arrived():
            return
    pytest.fail("the keyboard does not come there")


def test_pause_resume_and_cancel_ask_first(chrome: Browser, api: FakeApi, url: str) -> None:
    with tab(chrome, url) as page:
        watched(page, api)
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="Go back").click()
        expect(page.get_by_role("button", name="Pause")).to_be_focused()
        assert api.posted("/studies/live/pause") == []
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("alertdialog").get_by_role("button", name="Pause").click()
        expect(page.get_by_role("button", name="Resume")).to_be_focused()
        expect(page.locator("#said")).to_have_text("The study is paused.")
        page.get_by_role("button", name="Resume").click()
        page.get_by_role("alertdialog").get_by_role("button", name="Resume").click()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("alertdialog").get_by_role("button", name="Cancel").click()
        expect(page.locator(".title .badges")).to_contain_text("Cancelled")
        expect(page.get_by_role("heading", level=1)).to_be_focused()
        assert api.posted("/studies/live/cancel") == [{}]


def test_a_verb_that_is_refused_says_why(chrome: Browser, api: FakeApi, url: str) -> None:
    api.refusal = (409, {"error": "study 'live' is finished: only one that runs can be paused"})
    with tab(chrome, url, meant=(REFUSED,)) as page:
        watched(page, api)
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("alertdialog").get_by_role("button", name="Pause").click()
        expect(page.get_by_role("alert")).to_have_text("study 'live' is finished: only one that runs can be paused")


def test_trials_are_sorted_chosen_and_compared(chrome: Browser, api: FakeApi, url: str) -> None:
    with tab(chrome, url) as page:
        watched(page, api)
        assert numbers(page) == ["0", "1", "2", "3"]
        expect(page.locator("table.trials tbody tr", has_text="vLLM's defaults")).to_contain_text("Defaults")
        expect(page.locator("tr.failed")).to_contain_text("Oom: CUDA out of memory")
        expect(page.locator("tr.failed td.number").first).to_have_text("–")
        throughput = page.get_by_role("columnheader", name="Output throughput")
        throughput.get_by_role("button").click()
        expect(throughput).to_have_attribute("aria-sort", "descending")
        assert numbers(page) == ["1", "2", "0", "3"]
        throughput.get_by_role("button").click()
        assert numbers(page) == ["0", "2", "1", "3"]  # what failed stays last
        page.get_by_label("Compare trial 0").check()
        page.get_by_label("Compare trial 3").check()
        api.push("trial", trial(4, 500.0))  # comes first, and takes nothing away
        expect(page.locator("table.trials tbody tr")).to_have_count(5)
        assert numbers(page) == ["4", "0", "2", "1", "3"]
        expect(page.get_by_label("Compare trial 3")).to_be_focused()
        expect(page.get_by_label("Compare trial 0")).to_be_checked()
        page.get_by_label("Compare trial 1").check()
        page.get_by_role("link", name="Compare 3 trials").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Trials 0, 1, 3 of live")
        row = page.get_by_role("row", name="max_num_seqs")
        expect(row).to_have_text(re.compile("≠ differs: max_num_seqs.*default.*16.*48"))
        expect(page.get_by_role("row", name="Output throughput")).to_contain_text("best: 3,000.0 tok/s +200.0 %")
        expect(page.get_by_role("note")).to_contain_text("SIMULATED")
        page.go_back()
        expect(page.get_by_label("Compare trial 1")).to_be_checked()


def test_equal_trials_have_no_sign_of_a_difference(chrome: Browser, api: FakeApi, url: str) -> None:
    api.trials["live"] = [trial(0), trial(1, settings={})]
    with tab(chrome, url) as page:
        page.goto("/#/study/live/compare/0,1")
        expect(page.get_by_role("row", name="Output throughput")).not_to_contain_text("differs")
        page.get_by_label("Only what differs").check()
        expect(page.get_by_role("row", name="Output throughput")).to_be_hidden()
        page.goto("/#/study/live/compare/0,99")
        expect(page.locator("main")).to_contain_text("There are not two such trials.")


def test_more_trials_than_a_page_and_more_studies(chrome: Browser, api: FakeApi, url: str) -> None:
    api.trials["live"] = [trial(number) for number in range(250)]
    api.studies |= {f"s{number}": study(f"s{number}", state="finished") for number in range(70)}
    with tab(chrome, url) as page:
        page.goto("/#/study/live/compare/3,240")
        expect(page.get_by_role("columnheader", name="Trial 240")).to_be_visible()
        page.goto("/#/")
        rows = page.locator("table.studies tbody tr")
        expect(rows).to_have_count(50)
        page.get_by_role("button", name="Show more").click()
        expect(rows).to_have_count(71)
        expect(page.get_by_role("button", name="Show more")).to_be_hidden()
        page.get_by_role("link", name="live", exact=True).click()
        page.reload()
        rows = page.locator("table.trials tbody tr")
        expect(rows).to_have_count(200)
        page.get_by_role("button", name="Show more trials").click()
        expect(rows).to_have_count(250)


def test_a_proposal_is_answered_with_a_name_and_a_reason(chrome: Browser, api: FakeApi, url: str) -> None:
    with tab(chrome, url) as page:
        page.goto("/")
        page.get_by_role("link", name="Proposals").click()
        page.get_by_role("link", name="http://127.0.0.1:8000").click()
        expect(page.get_by_role("row", name="max_num_seqs")).to_have_text(re.compile("64.*128"))
        expect(page.get_by_role("note")).to_contain_text("SIMULATED")
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("alert")).to_have_text("Say who you are.")
        expect(page.get_by_label("Your name")).to_be_focused()
        page.get_by_label("Your name").fill("Ada")
        page.get_by_label("Reason").fill("longer prompts")
        assert faults(page) == []
        page.get_by_role("button", name="Approve").click()
        page.get_by_role("alertdialog").get_by_role("button", name="Approve").click()
        expect(page.locator(".title")).to_contain_text("Approved")
        expect(page.get_by_role("heading", level=1)).to_be_focused()
        expect(page.get_by_role("button", name="Approve")).to_have_count(0)
        assert api.posted("/proposals/7/approve") == [{"by": "Ada", "why": "longer prompts"}]


def test_empty_slow_missing_and_broken_say_what_to_do(chrome: Browser, api: FakeApi, url: str) -> None:
    api.studies, api.proposals = {}, []
    with tab(chrome, url, meant=(REFUSED,)) as page:
        api.slow_s = 1.0
        page.goto("/")
        expect(page.locator("main")).to_contain_text("Loading…")
        expect(page.locator("main")).to_contain_text("There is no study yet.")
        api.slow_s = 0.0
        page.goto("/#/proposals")
        expect(page.locator("main")).to_contain_text("Nothing is proposed.")
        page.goto("/#/study/none")
        expect(page.locator("main")).to_contain_text("there is no study 'none'")
        for nowhere in ("nowhere", "/study/%E0%A4%A", "/study/a/b/c/d"):
            page.goto(f"/#{nowhere}")
            expect(page.get_by_role("heading", level=1)).to_have_text("There is no such page")
        api.is_gone = True
        page.goto("/#/")
        expect(page.get_by_role("heading", level=1)).to_have_text("The service does not answer")
        api.studies = {"live": study("live")}
        api.is_gone = False
        expect(page.get_by_role("link", name="live", exact=True)).to_be_visible()  # by itself


VIEWS = [
    "/",
    "/new",
    "/study/live",
    "/study/live/compare/0,1,3",
    "/study/live/report",
    "/proposals",
    "/proposals/7",
    "/study/none",
]


@pytest.mark.parametrize("colors", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_every_view_has_names_headings_contrast_and_its_place(
    chrome: Browser, api: FakeApi, url: str, width: int, colors: str
) -> None:
    done = study(
        "live" + "-long" * 12,
        state="finished",
        verdict={"answer": "better", "sentence": "s " * 99, "trial": 1, "gain": 0.2},
    )
    api.studies |= {done["name"]: done, "failed": study("failed", state="failed", message="No card.")}
    api.trials[done["name"]] = api.trials["live"]
    with tab(
        chrome, url, meant=(REFUSED, *KEPT_IN), viewport={"width": width, "height": 900}, color_scheme=colors
    ) as page:
        for view in [*VIEWS, f"/study/{done['name']}"]:
            page.goto(f"/#{view}")
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            expect(page.locator("main")).not_to_contain_text("Loading")
            if view == "/study/live":
                wait_for(lambda: api.watchers() > 0)
                api.push("state", {"phase": "measuring", "trial": 4, "of": 10, "output_throughput": 2000})
                expect(page.locator(".figures")).to_contain_text("2,000")
            assert faults(page) == [], view


@in_a_calm_moment
def in_a_second(page: Page) -> None:
    page.goto("about:blank")
    page.goto("/")
    page.wait_for_selector("h1")
    assert page.evaluate("performance.now()") < 1000


def test_it_can_be_used_within_a_second(chrome: Browser, api: FakeApi, url: str) -> None:
    with tab(chrome, url) as page:
        in_a_second(page)
