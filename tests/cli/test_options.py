"""Fields of `Options` as options of a command."""

import inspect
import os
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from tuner.cli.options import FIELDS, option, takes
from tuner.study.options import Options

SEEN: list[tuple[str, Options, int | None, bool]] = []
APP = typer.Typer()


@APP.command()
@takes("slo", "force_gpu", "seed", "cache_dir", helps={"force_gpu": "Whatever the card."})
def measure(
    url: str,
    options: Options,
    fast: Annotated[bool, option("fast", "Soon.")] = False,
    seed: Annotated[int | None, option("seed", "Its own.")] = None,
) -> None:
    """Measure."""
    SEEN.append((url, options, seed, fast))


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TUNER_")]:
        monkeypatch.delenv(name)


def run(*arguments: str) -> tuple[str, Options, int | None, bool]:
    done = CliRunner().invoke(APP, list(arguments))
    assert done.exit_code == 0, done.output
    return SEEN.pop()


def test_without_a_flag_every_option_has_its_default() -> None:
    assert run("x") == ("x", Options(), None, False)


def test_what_is_given_is_in_the_options_or_is_the_command_s_own() -> None:
    given = (
        "--slo",
        "ttft_p99=1s",
        "--slo",
        "tpot_p99=9ms",
        "--force-gpu",
        "--cache-dir",
        "c",
        "--seed",
        "7",
        "--fast",
    )
    found = Options(slo=("ttft_p99=1s", "tpot_p99=9ms"), force_gpu=True, cache_dir=Path("c"))
    assert run("x", *given) == ("x", found, 7, True)


def test_options_stand_where_they_are_named_with_their_help_or_the_command_s() -> None:
    assert list(inspect.signature(measure).parameters) == ["url", "slo", "force_gpu", "seed", "cache_dir", "fast"]
    said = " ".join(CliRunner().invoke(APP, ["--help"], env={"COLUMNS": "200"}).output.split())
    for text in ("A limit, e.g. ttft_p99=500ms. Repeatable.", "Whatever the card.", "Its own.", "--cache-dir"):
        assert text in said
    assert "Of the sampler" not in said
    assert "the card is another" not in said


def test_every_option_has_a_help_that_is_a_sentence() -> None:
    said = inspect.get_annotations(Options)
    assert list(said) == list(FIELDS)
    for name, kind in said.items():
        (help,) = kind.__metadata__
        assert help.endswith("."), name
