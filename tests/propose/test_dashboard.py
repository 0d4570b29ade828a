"""What a person sees in optuna-dashboard, in a real browser: ours, and the plain one of the package."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from samples import failed, measured, trial
from waiting import answers, free_port, wait_for

from tuner.decide.objective import OBJECTIVES
from tuner.decide.slo import parse_slo
from tuner.propose.proposer import Proposer
from tuner.record.store import Store
from tuner.space.search_space import SearchSpace

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
SPACE = SearchSpace.model_validate(
    {"gpu": {"names": []}, "parameters": {"max_num_seqs": {"type": "int", "low": 1, "high": 1024, "log": True}}}
)


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Three trials: a good one, a faster one that misses its SLO, and one that did not start."""
    store = Store.open(f"sqlite:///{tmp_path / 'x.db'}")
    store.close()
    search = Proposer(
        store.url,
        "shown",
        space=SPACE,
        objectives=[OBJECTIVES["throughput"]],
        slos=[parse_slo("ttft_p99=500ms")],
        defaults={"max_num_seqs": 256},
        seed=0,
    )
    for outcome, missed in (
        (measured(output_throughput=111.5), -0.5),
        (measured(output_throughput=222.5), 0.5),
        (failed(), None),
    ):
        proposal = search.propose()
        assert proposal is not None
        ended = trial(proposal.number, outcome, params=proposal.params, is_default=proposal.is_default)
        search.tell(replace(ended, violations={} if missed is None else {"ttft_p99": missed}))
    search.close()
    return f"sqlite:///{tmp_path / 'x.db'}"


@contextmanager
def served(*command: str) -> Iterator[str]:
    port = str(free_port())
    with subprocess.Popen([*command, "--host", "127.0.0.1", "--port", port], stderr=subprocess.DEVNULL) as server:
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
