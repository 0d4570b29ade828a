"""The benchmark of what parallelism costs, on a surface of six points."""

import json
import subprocess
import sys
from pathlib import Path

from conftest import REPOSITORY


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "scale" / "parallel_cost.py"), "--jobs", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_more_at_a_time_takes_no_longer_and_all_is_told(tmp_path: Path) -> None:
    docs, found = tmp_path / "scale.md", tmp_path / "out.json"
    text = (REPOSITORY / "docs" / "scale-search.md").read_text()
    begin = text.index("<!-- parallelism")
    docs.write_text(
        text[:begin] + "<!-- parallelism: made by benchmarks/scale/parallel_cost.py -->\n<!-- end of parallelism -->\n"
    )
    how = ("ppas-5090-1", "--at-once", "1,5", "--strategies", "ours,random", "--seeds", "2")
    done = bench(*how, "--docs", str(docs), "--json", str(found))
    assert done.returncode == 0, done.stderr
    rows = json.loads(found.read_text())
    assert len(rows) == 2 * 2 * 2
    assert all(row["is_near"] and 1 <= row["launches"] <= 6 for row in rows)
    minutes = {(row["strategy"], row["at_once"], row["seed"]): row["minutes"] for row in rows}
    for strategy in ("ours", "random"):
        assert sum(minutes[strategy, 5, seed] for seed in (0, 1)) <= sum(minutes[strategy, 1, seed] for seed in (0, 1))
    written = docs.read_text()
    assert "| surface | ours, 1 | ours, 5 | random, 1 | random, 5 |" in written
    assert written.startswith(text[:begin])
    assert written.endswith("<!-- end of parallelism -->\n")


def test_bad_input_is_one_sentence() -> None:
    for arguments, why in (
        (("no-such",), "there is no surface no-such"),
        (("--strategies", "our"), "there is no strategy our"),
        (("--at-once", "0"), "--at-once is whole numbers of 1 and more"),
    ):
        done = bench(*arguments)
        assert done.returncode == 2
        assert why in done.stderr
        assert done.stderr.count("\n") == 1


def test_each_part_of_the_benchmark_is_a_process_of_its_own_and_one_that_fails_leaves_the_others_alone() -> None:
    command = [sys.executable, "benchmarks/scale", "parallel_cost", "on_paper", "--what-is-this"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if line.startswith("== ")] == [
        "== parallel_cost: launches and minutes to the best with 1, 8 and 64 at a time",
        "== on_paper: a thousand cards, from what one study costs",
    ]
    assert done.stderr.endswith("failed: parallel_cost, on_paper\n")
