"""What a person sees in optuna-dashboard, in a real browser: ours, and the plain one of the package."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import commands
import pytest
from playwright.sync_api import sync_playwright
from propose_samples import ended, words_of
from samples import failed, measured
from waiting import answers, free_port, wait_for

from tuner.decide.slo import parse_slo
from tuner.propose.book import Book
from tuner.propose.told import Words
from tuner.record.store import Store
from tuner.space.search_space import SearchSpace
from tuner.study.decided import objectives_of
from tuner.types import Failed, FailureKind, Outcome, Proposal

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
SPACE = SearchSpace.model_validate(
    {"gpu": {"names": []}, "parameters": {"max_num_seqs": {"type": "int", "low": 1, "high": 1024, "log": True}}}
)


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Three trials: a good one, a faster one that misses its SLO, and one that did not start."""
    store = Store.open(f"sqlite:///{tmp_path / 'x.db'}")
    store.close()
    slo = parse_slo("ttft_p99=500ms")
    outcomes: list[tuple[Outcome, float | None]] = [
        (measured(output_throughput=111.5), -0.5),
        (measured(output_throughput=222.5), 0.5),
        (failed(), None),
    ]
    trials = [
        ended(
            Proposal(number=number, params={"max_num_seqs": 256 + number}, is_default=number == 0),
            outcome,
            {} if missed is None else {slo.name: missed},
        )
        for number, (outcome, missed) in enumerate(outcomes)
    ]
    with closing(Book(store.url, "shown", words_of(SPACE, (slo,)))) as book:
        book.write(trials)
    return f"sqlite:///{tmp_path / 'x.db'}"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole study of the simulated T4: three trials and hand settings, verified; one trial's failure is a hostile one.

    Hand settings are launched again whatever the search finds, which on a busy machine may be nothing.
    """
    folder = tmp_path_factory.mktemp("study")
    more = ("--trials", "3", "--verify", "2", "--study", "s", "--window", "10", "--baseline", "--max-num-seqs 16")
    done = commands.tuner(folder, "optimize", "--engine", "sim", "--gpu", "t4", *more)
    assert done.returncode == 0, done.stderr
    store = Store.open(f"sqlite:///{folder / 'tuner.db'}")
    hostile = "<img src=x onerror=\"document.title='run'\"> HF_TOKEN=hf_abcdefghijklmnopqrstu $x$"
    failure = Failed(kind=FailureKind.OUT_OF_MEMORY, message=hostile, log_tail=f"one\n```\n{hostile}\nlast words")
    store.finish("s", replace(store.trials("s")[-1], number=4, outcome=failure))
    record = store.study("s")
    space = SearchSpace.model_validate_json(record.space)
    objectives = objectives_of(record)
    with closing(Book(store.url, "s", Words(parameters=space.parameters, objectives=objectives, slos=()))) as book:
        book.write(store.trials("s"))
    store.close()
    return folder


@contextmanager
def served(*command: str, folder: Path | None = None) -> Iterator[str]:
    port = str(free_port())
    whole = [*command, "--host", "127.0.0.1", "--port", port]
    with subprocess.Popen(whole, stderr=subprocess.DEVNULL, cwd=folder) as server:
        try:
            wait_for(lambda: answers(f"http://127.0.0.1:{port}/dashboard/"))
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def test_tuner_dashboard_names_the_best_trial_that_meets_the_slo(database: str, text_of: Callable[[str], str]) -> None:
    with served(sys.executable, "-m", "tuner", "dashboard", "--storage", database) as url:
        study = text_of(f"{url}/dashboard/studies/1")
        assert "Best Trial (number=0) 111.5" in study
        assert "output_throughput" in study  # the objective's name


def test_a_person_sees_the_answer_that_it_is_simulated_and_why_a_trial_failed(study: Path, chromium: str) -> None:
    with served(sys.executable, "-m", "tuner", "dashboard", folder=study) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 1200})
        page.set_default_timeout(120_000)
        failing: list[str] = []
        page.on("pageerror", lambda error: failing.append(str(error)))

        page.goto(f"{url}/dashboard/studies/1")
        page.get_by_text("Study User Attributes").wait_for()
        row = page.get_by_role("row").filter(has_text="verdict")
        assert "rial" in row.inner_text()
        assert page.get_by_role("row").filter(has_text="reality").get_by_text("SIMULATED: no GPU").count() == 1
        page.get_by_text("s: SIMULATED: no GPU").wait_for()  # the banner, on top of everything

        page.goto(f"{url}/dashboard/studies/1/note")
        page.get_by_role("heading", name="s", exact=True).wait_for()
        page.get_by_role("table").get_by_text("Output throughput").wait_for()
        page.get_by_text("tuner export s --format yaml").wait_for()

        page.goto(f"{url}/dashboard/studies/1/trials?numbers=0")
        page.get_by_text("trial-0-timeline.svg").wait_for()
        page.get_by_text("trial-0.log").wait_for(state="attached")
        page.get_by_text("trial-0-verify-1.log").wait_for(state="attached")
        plot = page.locator("img[src*='/artifacts/']").first
        plot.scroll_into_view_if_needed()
        assert plot.evaluate("async image => { await image.decode(); return image.naturalWidth > 0 }")

        page.goto(f"{url}/dashboard/studies/1/trials?numbers=4")
        page.get_by_text("Why it failed").wait_for()
        shown = page.inner_text("body")
        assert "last words" in shown
        assert "<img src=x onerror=" in shown  # as text
        assert page.locator("img[src=x]").count() == 0
        assert "hf_abcdefghijklmnopqrstu" not in shown
        assert page.title() != "run"

        assert page.evaluate("async () => (await fetch('/api/studies/1', {method: 'DELETE'})).status") == 405
        assert failing == []
        browser.close()


def test_the_plain_dashboard_shows_what_is_infeasible_and_the_metrics(
    database: str, text_of: Callable[[str], str]
) -> None:
    program = "from optuna_dashboard._cli import main; main()"
    with served(sys.executable, "-c", program, database) as url:
        assert "Infeasible" in text_of(f"{url}/dashboard/studies/1")  # the timeline's legend
        missing = text_of(f"{url}/dashboard/studies/1/trials?numbers=1")
        assert "status misses ttft_p99" in missing
        failed_trial = text_of(f"{url}/dashboard/studies/1/trials?numbers=2")
        assert "Pruned" in failed_trial
        assert "status out of memory" in failed_trial
        assert "output_throughput" not in failed_trial.split("User Attributes")[-1]
        measured_trial = text_of(f"{url}/dashboard/studies/1/trials?numbers=0")
        assert "output_throughput 111.5" in measured_trial
        assert "ttft_p99_s 0.1" in measured_trial
