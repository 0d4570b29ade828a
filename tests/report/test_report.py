"""What reports of studies say, in each state that a study can be in; and that the three formats say the same."""

import gzip
import json
import re
import shlex
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from commands import tuner
from conftest import REPOSITORY
from markdown_it import MarkdownIt
from report_samples import (
    ABUSE,
    AGAIN,
    DEFAULTS,
    TRIALS,
    begun,
    crash,
    database,
    outcome,
    record,
    reported,
    simulated,
    stored,
    trial,
    without_ttft,
)
from samples import failed

from tuner.report.content import Report
from tuner.report.formats import FORMATS
from tuner.report.html import report_html
from tuner.report.markdown import report_markdown
from tuner.report.report_json import report_json
from tuner.study.reported import report_of
from tuner.types import FailureKind, Params, Timeline, Twin

GOLDEN = Path(__file__).parent / "small-study.md"
SCHEMA = json.loads((REPOSITORY / "docs" / "report.schema.json").read_text())
HEADINGS = [
    "Verdict",
    "Before and after",
    "The search, launch after launch",
    "Throughput against latency",
    "What each setting was worth",
    "What holds it back",
    "Time lines",
    "Failed trials",
    "Environment",
    "How it was measured",
    "How far the model was off",
]


@pytest.fixture
def small(tmp_path: Path) -> Report:
    return reported(tmp_path, record("small"))


def data_of(report: Report) -> dict[str, Any]:
    """Its JSON, which is of the schema."""
    found: dict[str, Any] = json.loads(report_json(report), parse_constant=lambda name: pytest.fail(name))
    jsonschema.validate(found, SCHEMA, format_checker=jsonschema.FormatChecker())
    return found


def rendered(markdown: str) -> str:
    """As a page shows it, raw HTML among it."""
    return str(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))


def all_formats(report: Report) -> dict[str, Any]:
    """Each can be made, and is text that a file can hold."""
    for make in FORMATS.values():
        make(report).encode()
    return data_of(report)


def test_the_markdown_of_a_small_study_is_the_golden_one(small: Report) -> None:
    assert report_markdown(small) == GOLDEN.read_text()


def test_the_verdict_and_its_flags_come_first(small: Report) -> None:
    text = report_markdown(small)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    verdict = text.split("## Verdict")[1].split("## ")[0]
    assert "**Trial 1 is better than vLLM's defaults" in verdict
    assert "vllm serve some/model --max-num-seqs 512" in verdict
    assert "`--max-num-seqs 512` | `256`" in verdict
    assert re.findall(r'<h2 id="\S+">(.+?)</h2>', report_html(small)) == HEADINGS


def test_the_json_has_what_the_schema_says_and_the_document_every_field(small: Report) -> None:
    found = data_of(small)
    assert found["verdict"]["recommended"] == 1
    assert found["verdict"]["changes"] == {"max_num_seqs": {"value": 512, "default": 256}}
    assert found["before_after"]["metrics"]["output_throughput"]["trial"] == [1240.0, 1260.0, 1250.0]
    assert [one["step"] for one in found["progress"]] == [
        *("measured", "measured", "failed", "measured", "misses an SLO", "stopped early")
    ]
    assert [one["best_so_far"] for one in found["progress"]] == [1000.0, 1250.0, 1250.0, 1250.0, 1250.0, 1250.0]
    assert [(one["trial"], one["round"]) for one in found["time_lines"]] == [(0, 3), (1, 3)]
    text = (REPOSITORY / "docs" / "json.md").read_text().split("## A report")[1].split("\n## ")[0]
    documented = set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE))
    assert set(found) == documented == set(SCHEMA["properties"]) - {"simulated", "replayed"}


def test_the_schema_refuses_what_it_should(small: Report) -> None:
    found = data_of(small)
    for change in ({"verdict": None}, {"study": 1}, {"made_at": 7}, {"state": "fine"}, {"more": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**found, **change}, SCHEMA)


def test_a_failed_trial_is_never_the_best_and_says_why(small: Report) -> None:
    text = report_markdown(small)
    part = text.split("## Failed trials")[1].split("## ")[0]
    assert "| 2 | out of memory | CUDA out of memory | `max_num_seqs=1024` |" in part
    assert "the last lines" in part
    assert 'class="mark failed"' in report_html(small)


def test_what_fails_by_nobodys_settings_is_told_too(tmp_path: Path) -> None:
    report = reported(tmp_path, record("s"), [TRIALS[0], trial(1, {}, failed(FailureKind.DISK_FULL))], ())
    assert "disk full, to be run again" in report_markdown(report)
    assert report.begun == 0
    assert [one["trial"] for one in all_formats(report)["failed"]] == [1]


@pytest.mark.parametrize("word", ["SIMULATED", "REPLAYED"])
def test_what_is_not_measured_says_so_at_the_top_and_in_the_title(word: str, tmp_path: Path) -> None:
    report = reported(tmp_path, record("s", fingerprint=simulated(word=word)))
    page = report_html(report)
    assert f"<title>{word} Study s</title>" in page
    assert page.index(f"{word}: no") < page.index("<h1>") if word == "SIMULATED" else f"{word}: nothing" in page
    first = report_markdown(report).splitlines()[:3]
    assert first[0] == f"# {word} Study s"
    assert first[2].startswith(f"> **{word}: ")
    assert report_json(report).splitlines()[1].startswith(f'  "{word.lower()}": "{word}: ')
    found = data_of(report)
    assert found["unreal"] == word
    *said, command, end = found["verdict"]["command"].split("\n")
    assert said[0].startswith(f"# {word}: ")
    assert command.startswith("vllm serve some/model --max-num-seqs 512 ")
    assert end == ""


def test_an_unfinished_study_is_told_as_it_stands(tmp_path: Path) -> None:
    with_more = database(tmp_path)
    stored(with_more, record("s"), TRIALS[:2], ())
    begun(with_more, "s", 2)
    report = report_of(with_more, "s")
    text = report_markdown(report)
    assert "and is not verified" in text
    assert "The study is not finished" in text
    assert "1 more began and has not ended." in text
    assert all_formats(report)["state"] == "not finished"
    assert "as the search measured them" in text
    assert "how far launches differ is not known here" in text


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        ([], "no trial has ended yet"),
        ([trial(0, {}, failed())], "no trial could be measured"),
        ([trial(n, {"max_num_seqs": 2**n}, crash("it fell")) for n in range(5)], "no trial could be measured"),
        ([trial(0, {}, outcome(1000.0))], "no other trial has ended"),
        ([trial(0, {}, outcome(1000.0, 0.9))], "no trial that was measured meets every SLO"),
        ([trial(1, {"max_num_seqs": 8}, outcome(1000.0))], "is the best that was measured"),
        ([trial(0, {}, without_ttft(1000.0)), trial(1, {"max_num_seqs": 8}, without_ttft(1100.0))], "not verified"),
        ([trial(0, {}, outcome(0.0)), trial(1, {"max_num_seqs": 8}, outcome(0.0))], "no trial was better"),
    ],
)
def test_studies_of_which_little_is_known_give_an_honest_report(trials: list[Any], said: str, tmp_path: Path) -> None:
    report = reported(tmp_path, record("s"), trials, ())
    assert said in report.answer
    found = all_formats(report)
    assert found["launched_again"] == []
    if len(trials) < 2:
        assert found["before_after"] is None
        assert "Nothing can be compared" in report_markdown(report)
    credits = {one["credit"] for each in found["importance"] for one in each["settings"]}
    assert credits <= {"too few trials", "not varied"}


def test_several_objectives_have_a_front_and_its_knee(tmp_path: Path) -> None:
    trials = [
        trial(0, {}, outcome(1000.0, 0.3)),
        trial(1, {"max_num_seqs": 512}, outcome(1600.0, 0.35)),
        trial(2, {"max_num_seqs": 64}, outcome(900.0, 0.1)),
        trial(3, {"max_num_seqs": 32}, outcome(500.0, 0.4)),
    ]
    both = record("s", objective="throughput,ttft_p99", direction="maximize,minimize", settings={})
    report = reported(tmp_path, both, trials, ())
    found = all_formats(report)
    assert [one["trial"] for one in found["front"]] == [1, 0, 2] or [one["trial"] for one in found["front"]] == [1, 2]
    assert sum(one["is_knee"] for one in found["front"]) == 1
    assert [one["metric"] for one in found["importance"]] == ["output_throughput", "ttft_p99_s"]
    text = report_markdown(report)
    assert "## The trade-off" in text
    assert "is the knee" in text
    assert 'id="trade-off-title"' in report_html(report)
    ids = re.findall(r' id="([^"]+)"', report_html(report))
    assert len(ids) == len(set(ids))


def test_three_objectives_and_a_latency_alone(tmp_path: Path) -> None:
    names = "throughput,ttft_p99,tpot_p50"
    three = record("three", objective=names, direction="maximize,minimize,minimize", settings={})
    assert all_formats(reported(tmp_path, three, TRIALS, ()))["front"]
    one = record("one", objective="ttft_p99", direction="minimize", settings={})
    report = reported(tmp_path, one, TRIALS, ())
    assert "Output throughput against TTFT p99" in report_html(report)


def test_a_database_of_an_old_tuner_gives_a_report(tmp_path: Path) -> None:
    packed = REPOSITORY / "tests" / "record" / "databases" / "0002.db.gz"
    (tmp_path / "old.db").write_bytes(gzip.decompress(packed.read_bytes()))
    storage = ("--storage", f"sqlite:///{tmp_path / 'old.db'}")
    names = [one["study"] for one in json.loads(tuner(tmp_path, "studies", "--json", "-", *storage).stdout)["studies"]]
    assert names
    for name in names:
        for format in FORMATS:
            done = tuner(tmp_path, "report", name, "--format", format, *storage)
            assert done.returncode == 0, done.stderr
        jsonschema.validate(json.loads(done.stdout), SCHEMA)
        assert "No time line" in tuner(tmp_path, "report", name, "--format", "markdown", *storage).stdout


@pytest.mark.parametrize("name", ABUSE)
def test_names_and_messages_of_others_are_only_text(name: str, tmp_path: Path) -> None:
    storable = name.encode("utf-8", "replace").decode().replace("\x00", "")
    params: Params = {**DEFAULTS, "quantization": storable}
    trials = [*TRIALS, trial(6, params, crash(storable, storable)), trial(7, params, outcome(900.0))]
    report = reported(tmp_path, record(storable, model=storable, workload=storable), trials)
    strange = replace(report, study=name, model=name, answer=name, cautions=(name,), command=name)  # as it came
    page = report_html(strange)
    page.encode()
    assert not re.search(r"<(script|img|b>|h1>out)", page)
    assert len(re.findall(r"<h1>", page)) == 1
    assert page.count("<!--") == page.count("-->") == 0
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page)
    text = report_markdown(strange)
    text.encode()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    shown = rendered(text)
    assert not re.search(r"<(script|img|b>|strong><strong|a )", shown)
    assert len(re.findall(r"<h1>", shown)) == 1
    assert re.findall(r"<h2>(.+?)</h2>", shown) == HEADINGS
    assert not re.search(r"(?<![`\w])@\w", re.sub(r"<code.*?</code>", "", shown, flags=re.DOTALL))
    assert data_of(strange)["study"] == name


@pytest.mark.parametrize("value", ["a|b`c\\|d", "`|`", "|", "\\", "a\nb", "*x* _y_ ~~z~~"])
def test_a_cell_of_a_markdown_table_holds_any_text(value: str, tmp_path: Path) -> None:
    trials = [*TRIALS, trial(6, {"quantization": value}, crash(f"it said {value} at last"))]
    shown = rendered(report_markdown(reported(tmp_path, record("s"), trials)))
    folded = " ".join(value.split())
    assert f"<td>it said {escape(folded)} at last</td>" in shown
    assert f"<td><code>quantization={escape(folded)}</code></td>" in shown


def test_the_command_writes_a_file_and_refuses_what_it_cannot(tmp_path: Path) -> None:
    store = database(tmp_path, "tuner")
    stored(store, record("small"))
    store.close()
    done = tuner(tmp_path, "report", "small", "--output", "r.html")
    assert (done.returncode, done.stdout) == (0, "")
    assert re.fullmatch(r"r\.html: study small, 6 trials, \d+ kB\n", done.stderr)
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>\n")
    assert tuner(tmp_path, "report", "small").stdout.startswith("<!doctype html>")
    for arguments, said in (
        (("smal",), "has no study 'smal' (did you mean 'small'?)"),
        (("small", "--format", "htm"), "unknown --format 'htm' (did you mean 'html'?)"),
        (("small", "--output", "no/such/r.html"), "cannot be written"),
        (("small", "--output", "."), "cannot be written"),
        (("small", "--storage", "sqlite:///none.db"), "none.db"),
    ):
        wrong = tuner(tmp_path, "report", *arguments)
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert said in wrong.stderr
        assert len(wrong.stderr.splitlines()) == 1


def test_no_round_of_the_verification_is_lost(small: Report) -> None:
    assert [(one.trial, one.round) for one in small.again] == [(number, round) for number, round, _ in AGAIN]


@pytest.mark.parametrize("name", ["requests", "goodput", "cost", "energy", "e2e_p99", "ttft_mean", "ttft_p99,cost"])
def test_every_objective_gives_a_report(name: str, tmp_path: Path) -> None:
    ways = ",".join("maximize" if one in ("requests", "goodput") else "minimize" for one in name.split(","))
    study = record("s", objective=name, direction=ways, settings={"price_per_hour": 2.5})
    found = all_formats(reported(tmp_path, study, TRIALS, ()))
    assert [one["objective"] for one in found["objectives"]] == name.split(",")
    if name == "energy":  # no GPU told any
        assert found["verdict"]["recommended"] == 0
        assert {value for one in found["progress"] for value in one["values"].values()} == {None}


def test_a_trial_that_only_repeats_another_has_no_value_and_is_no_failure(tmp_path: Path) -> None:
    twin = replace(trial(6, {"max_num_seqs": 513}, failed()), outcome=Twin(equals=1, why="the same"), attempts=0)
    report = reported(tmp_path, record("s"), [*TRIALS, twin])
    found = all_formats(report)
    assert found["progress"][-1]["step"] == "equals another"
    assert found["progress"][-1]["values"] == {"output_throughput": None}
    assert [one["trial"] for one in found["failed"]] == [2]
    assert "| 6 | equals trial 1 | - |" in report_markdown(report)


def test_the_commands_of_the_document_run_as_written(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "report.md").read_text()
    commands = [shlex.split(line) for line in re.findall(r"^\$ (tuner report t4-demo-chat.*)$", text, re.MULTILINE)]
    store = database(tmp_path, "tuner")
    stored(store, record("t4-demo-chat"))
    store.close()
    assert len(commands) == 3
    for command in commands:
        assert tuner(tmp_path, *command[1:]).returncode == 0
    assert {"report.html", "report.json"} <= {file.name for file in tmp_path.iterdir()}


def test_a_time_line_without_a_series_or_samples_is_drawn_as_far_as_it_is_known(tmp_path: Path) -> None:
    bare = Timeline(t_s=(0.0, 1.0), window_begin_s=0.0, window_end_s=2.0, output_throughput=(None, 5.0))
    empty = Timeline(t_s=(), window_begin_s=0.0, window_end_s=0.0)
    trials = [
        replace(TRIALS[0], outcome=replace(outcome(1000.0), timeline=bare)),
        replace(TRIALS[1], outcome=replace(outcome(1250.0), timeline=empty)),
    ]
    report = reported(tmp_path, record("s"), trials, ())
    assert len(all_formats(report)["time_lines"]) == 2
    assert report_html(report).count('class="window"') == 1
    assert "| Output throughput tok/s | 5 (5 to 5) | - |" in report_markdown(report)
