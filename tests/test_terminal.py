"""docs/terminal.md shows what is printed: by shape, as a real study on the CPU engine prints it anew."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from conftest import REPOSITORY
from terminal_captures import COMMANDS, URL, captures

TEXT = (REPOSITORY / "docs" / "terminal.md").read_text()
BLOCKS = dict(re.findall(r"<!-- (\w+) -->\n```text\n(.*?)```", TEXT, re.DOTALL))
#: Lines that stand in a capture of each, whatever was measured.
SHAPES = {
    "running": [r"^trial \d+ \(\d/\d\) measuring .*\d+/8 s, [\d,]+ tok/s, .*left$"],
    "ended": [
        r"^vLLM's defaults \(trial 0\): ",
        r"^The search, one launch each, the best first:$",
        r"^ ?# +status +tok/s +req/s +TTFT p99 ms +TPOT p99 ms",
        r"^ *0 +(measured|recommended)",
        r"^ +(max_num_seqs|max_num_batched_tokens|stream_interval|enable_prefix_caching)=",
        r"^(Keep vLLM's defaults: |Trial \d+ is |Deploy trial )",
        r"^Export it: tuner export cpu-demo-chat$",
    ],
    "trials": [r"^vLLM's defaults \(trial 0\): ", r"^ ?# +status +tok/s", r"^ *0 +(measured|recommended)"],
    "studies": [r"^cpu-demo-chat$", r"^  gpu cpu, model\b", r"\bdemo, +workload|\bdemo,$", r"\bstate ended\b"],
    "bench": [
        rf"^{URL}, model \S*demo, workload chat, 4 users$",
        r"^Output throughput +[\d,.]+  tok/s",
        r"^ms +mean +p50 +p90 +p95 +p99$",
        r"^TTFT( +[\d,.]+){5}$",
        r"^SLO ttft_p99 of at most 2,000 ms: ",
    ],
    "compare": [r"^A: ", r"^B: ", r"^workload chat, 4 users$", r"^ +A +B +change$", r"^no verdict: "],
}


def check(shown: dict[str, str]) -> None:
    assert shown.keys() == SHAPES.keys()
    for name, patterns in SHAPES.items():
        lines = shown[name].splitlines()
        for pattern in patterns:
            assert any(re.search(pattern, line) for line in lines), f"{name}: {pattern}\n{shown[name]}"
        assert max(map(len, lines)) <= 80, f"{name}: {max(lines, key=len)}"
        assert not any("…" in line or line != line.rstrip() for line in lines), name


def test_what_the_document_shows_has_the_shape() -> None:
    check(BLOCKS)


def test_the_commands_are_those_that_were_run() -> None:
    assert re.findall(r"^\$ tuner (.+)$", TEXT, re.MULTILINE) == [shlex.join(words) for words in COMMANDS.values()]


@pytest.mark.engine
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_real_study_prints_it(engine_python: Path, demo_model: Path, tmp_path: Path) -> None:
    """Among it: the exported file starts a server by itself."""
    shutil.copytree(demo_model, tmp_path / "demo")
    shown = captures(tmp_path, engine_python)
    check({name: text.replace(f"{tmp_path}/", "") for name, text in shown.items()})  # a long name, which no line breaks
