"""The page on the real service: a simulated study is started by the form, seen live, and read to its end."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import REFUSED, browser, faults, tab
from playwright.sync_api import Browser, Page, expect
from serving_studies import Service, serving

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
#: A study of three trials and its verification take some seconds of simulation; a busy machine takes longer.
PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
def chrome(chromium: str) -> Iterator[Browser]:
    with browser(chromium) as started:
        yield started


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("page")) as found:
        yield found


def started(page: Page, name: str, trials: int) -> None:
    page.goto("/")
    page.get_by_role("link", name="Start a study").click()
    page.get_by_label("Card").select_option("t4")
    page.get_by_label("Engine").select_option("sim")
    page.get_by_label("Trials").fill(str(trials))
    page.get_by_label("Limits").fill("ttft_p99=60s")
    page.get_by_label("Name").fill(name)
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Launches to verify").fill("2")
    page.get_by_role("button", name="Start the study").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name, timeout=PATIENCE_MS)


def test_a_simulated_study_from_the_form_to_its_files(chrome: Browser, service: Service) -> None:
    with tab(chrome, service.url, viewport={"width": 1440, "height": 1000}) as page:
        started(page, "mine", 3)
        expect(page.get_by_role("note")).to_contain_text("SIMULATED")
        expect(page.locator(".phase")).to_have_text(re.compile(r"^Trial \d+ of 3: "), timeout=PATIENCE_MS)
        assert faults(page) == []
        expect(page.locator("svg path.line")).to_have_attribute("d", re.compile("^M.*L"), timeout=PATIENCE_MS)
        expect(page.locator(".title .badges")).to_contain_text("Finished", timeout=PATIENCE_MS)
        expect(page.get_by_role("region", name="Verdict")).not_to_contain_text("There is none")
        rows = page.locator("table.trials tbody tr")
        expect(rows.first).to_contain_text("Defaults")
        expect(rows.first).to_contain_text("vLLM's defaults")
        assert rows.count() >= 3
        assert faults(page) == []
        with page.expect_download() as found:
            page.get_by_role("link", name="yaml", exact=True).click()
        assert "SIMULATED" in found.value.path().read_text().splitlines()[0]
        measured = page.locator("table.trials tbody tr:not(.failed)")
        for at in range(2):
            measured.nth(at).get_by_role("checkbox").check()
        page.get_by_role("link", name="Compare 2 trials").click()
        expect(page.get_by_role("row", name="Output throughput").first).to_contain_text("tok/s")
        page.go_back()
        page.get_by_role("link", name="Open the report").click()
        frame = page.frame_locator("iframe")
        expect(frame.locator("body")).to_contain_text("SIMULATED")
        assert frame.locator("body").evaluate("() => origin") == "null"
        assert frame.locator("body").evaluate("(one) => getComputedStyle(one).fontFamily") != '"Times New Roman"'
        with page.expect_download() as found:
            page.get_by_role("button", name="Save as Markdown").click()
        assert "SIMULATED" in found.value.path().read_text()
        page.get_by_role("link", name="Studies").first.click()
        expect(page.get_by_role("row", name="mine")).to_contain_text("Finished")
        page.get_by_role("link", name="Optuna dashboard").click()
        expect(page).to_have_url(re.compile("/dashboard"))


def test_the_services_own_refusals_are_at_their_fields(chrome: Browser, service: Service) -> None:
    with tab(chrome, service.url, meant=(REFUSED,)) as page:
        page.goto("/#/new")
        for label, value in (
            ("Trials", "5000"),
            ("Trials", "many"),
            ("Limits", "ttfp_p99=1s"),
            ("Name", "a b/$(touch x)"),
        ):
            field = page.get_by_label(label, exact=True)
            before = field.input_value()
            field.fill(value)
            page.get_by_role("button", name="Start the study").click()
            expect(field).to_have_attribute("aria-invalid", "true")
            expect(field).to_be_focused()
            field.fill(before)
        assert service.get("studies")["studies"] == [] or not page.locator("h1", has_text="a b").count()


def test_a_study_is_paused_resumed_and_cancelled(chrome: Browser, service: Service) -> None:
    with tab(chrome, service.url) as page:
        started(page, "long", 400)
        for button, then in (("Pause", "Paused"), ("Resume", re.compile("Queued|Running")), ("Cancel", "Cancelled")):
            page.get_by_role("button", name=button).click(timeout=PATIENCE_MS)
            page.get_by_role("alertdialog").get_by_role("button", name=button).click()
            expect(page.locator(".title .badges")).to_contain_text(then, timeout=PATIENCE_MS)


def test_a_token_opens_the_real_service_live(chrome: Browser, tmp_path: Path) -> None:
    secret = "0123456789abcdef-token"
    (tmp_path / "token").write_text(secret)
    (tmp_path / "token").chmod(0o600)
    with serving(tmp_path, None, "--token-file", "token", token=secret) as service:
        service.create("one", trials=400, verify=0)
        with tab(chrome, service.url, meant=(REFUSED,)) as page:
            page.goto("/#/study/one")
            page.get_by_role("textbox", name="Token").fill(secret)
            page.keyboard.press("Enter")
            expect(page.locator(".phase")).to_have_text(re.compile("^Trial"), timeout=PATIENCE_MS)
            page.get_by_role("button", name="Cancel").click()
            page.get_by_role("alertdialog").get_by_role("button", name="Cancel").click()
            expect(page.locator(".title .badges")).to_contain_text("Cancelled", timeout=PATIENCE_MS)
        assert secret not in service.said
