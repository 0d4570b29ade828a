"""What a person reads of a measurement and of a comparison."""

from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table
from samples import load_metrics, measured

from tuner.bench.comparison import Comparison
from tuner.cli.measurements import compared_table, mark_sentences, measurement_tables, slo_sentences, verdict_sentence
from tuner.decide.objective import OBJECTIVES
from tuner.decide.slo import parse_slo
from tuner.types import GpuMetrics, Lengths, Mark, Measured, ServerMetrics, Workload

THROUGHPUT = OBJECTIVES["throughput"]
WORKLOAD = Workload(
    name="w", api="chat", users=8, input_tokens=Lengths(low=64, high=64), output_tokens=Lengths(low=8, high=8)
)


def lines(*tables: Table) -> dict[str, str]:
    """The tables as printed on a wide screen: a row by its label."""
    console = Console(width=200)
    with console.capture() as captured:
        console.print(*tables)
    found = [" ".join(line.split()) for line in captured.get().splitlines()]
    labels = [str(cell) for table in tables for cell in table.columns[0].cells]
    return {label: next(line for line in found if line.startswith(f"{label} ")) for label in labels}


def side(*throughputs: float, **changes: Any) -> tuple[Measured, ...]:
    return tuple(replace(measured(output_throughput=value), **changes) for value in throughputs)


def verdict(a: tuple[float, ...], b: tuple[float, ...]) -> str:
    found = Comparison(side(*a), side(*b))
    return verdict_sentence(found, found.paired(THROUGHPUT), THROUGHPUT)


def test_each_metric_has_its_unit_and_throughput_its_interval() -> None:
    shown = lines(*measurement_tables(replace(measured(), load=replace(load_metrics(), output_throughput_ci95=1.5))))
    assert shown["Output throughput"] == "Output throughput 100.0 tok/s ± 1.5 (1.5%), 95% interval"
    assert shown["TTFT"] == "TTFT 100.0 100.0 100.0 100.0 100.0"
    assert shown["TPOT"] == "TPOT 10.00 10.00 10.00 10.00 10.00"
    assert shown["Busiest load worker"] == "Busiest load worker 20 % of a core"


def test_each_slo_is_met_or_missed() -> None:
    assert slo_sentences(measured(), [parse_slo("ttft_p99=50ms"), parse_slo("e2e_mean=2s")]) == [
        "SLO ttft_p99 of at most 50 ms: 100.0 ms, missed",
        "SLO e2e_mean of at most 2,000 ms: 1,000 ms, met",
    ]


def test_what_was_not_measured_has_no_row() -> None:
    bare = replace(measured(), server=None, startup_s=None, server_cpu_cores=None)
    shown = lines(*measurement_tables(replace(bare, load=replace(load_metrics(), tpot_s=None))))
    assert "TTFT" in shown
    assert not {"Running", "Start-up", "Server CPU", "GPU power", "TPOT"} & shown.keys()


def test_a_comparison_shows_medians_and_the_change() -> None:
    shown = lines(compared_table(Comparison(side(90, 100, 200), side(120, 110, 300))))
    assert shown["Output throughput"] == "Output throughput 100.0 120.0 tok/s +20.0%"
    assert shown["TTFT p99"] == "TTFT p99 100.0 100.0 ms +0.0%"


def test_one_side_alone_is_shown() -> None:
    assert lines(compared_table(Comparison(side(90), ())))["Output throughput"] == "Output throughput 90.0 - tok/s -"


def test_a_difference_is_claimed_with_its_size_and_confidence() -> None:
    said = verdict((100,) * 6, (112, 113, 112, 113, 112, 111))
    assert said.startswith(
        "B is faster: its output throughput is 12.2% higher (95% interval +11.4% to +13.0%, p 0.031, 6 pairs)"
    )
    assert verdict((112, 113, 112, 113, 112, 111), (100,) * 6).startswith(
        "B is slower: its output throughput is 10.8% lower"
    )


def test_of_a_latency_less_is_faster() -> None:
    a, b = (tuple(measured(ttft_s=value) for value in [seconds] * 6) for seconds in (0.2, 0.1))
    found, goal = Comparison(a, b), OBJECTIVES["ttft_p99"]
    assert verdict_sentence(found, found.paired(goal), goal).startswith("B is faster: its TTFT p99 is 50.0% lower")


def test_no_difference_says_what_would_have_been_seen() -> None:
    said = verdict((100,) * 6, (95, 104, 101, 97, 105, 99))
    assert said.startswith("no difference in output throughput (+0.1%; 95% interval -3.9% to +4.3%")
    assert said.endswith("a difference of at least 4.3% would have been seen")


def test_a_sure_difference_that_is_too_small_is_none() -> None:
    said = verdict((100,) * 6, (100.5, 100.51, 100.49, 100.5, 100.52, 100.5))
    assert said.startswith("no difference in output throughput that matters: +0.5% is below 1% (95% interval +0.5%")


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ((), (), "no verdict: no pair was measured"),
        ((100,), (), "no verdict: no pair was measured"),
        ((100,), (110,), "no verdict: output throughput +10.0% in 1 pair, and the test needs at least 6 (--repeats)"),
        ((100,) * 5, (110,) * 5, "no verdict: output throughput +10.0% in 5 pairs, and the test needs at least 6"),
    ],
)
def test_too_little_for_a_verdict(a: tuple[float, ...], b: tuple[float, ...], said: str) -> None:
    assert verdict(a, b).startswith(said)


def test_a_metric_that_is_zero_or_missing_gives_no_verdict() -> None:
    load = replace(load_metrics(), goodput=0.0)
    found, goal = Comparison(side(1, 1, load=load), side(1, 1)), OBJECTIVES["goodput"]
    assert (
        verdict_sentence(found, found.paired(goal), goal) == "no verdict: goodput is missing or 0 in some measurement"
    )


SERVER = ServerMetrics(
    prompt_tokens=1000.0,
    generation_tokens=1000.0,
    preemptions=0.0,
    prefix_cache_queries=1000.0,
    prefix_cache_hits=380.0,
    kv_cache_usage_mean=0.5,
    kv_cache_usage_max=0.6,
    running_mean=8.0,
    waiting_mean=0.0,
    agreement=1.0,
)
GPU = GpuMetrics(
    gpus=(0,),
    samples=10,
    utilization=0.9,
    memory_used_bytes=2**30,
    power_w=300.0,
    throttled=0.4,
    throttle_reasons=("hw thermal",),
)


@pytest.mark.parametrize(
    ("mark", "parts"),
    [
        (
            Mark.CLIENT_BOUND,
            (
                "the load generator was the limit",
                "a worker busy for 20% of a core, chunks read 1.0 ms late)",
                "may do better",
            ),
        ),
        (Mark.UNSTEADY, ("had not become stationary after 4 s", "--warmup")),
        (Mark.IMPRECISE, ("± 5.0%", "asked was ± 2.0%", "--max-window")),
        (Mark.THROTTLED, ("held down in 40% of the window (hw thermal)",)),
        (Mark.PREFIX_CACHE, ("38% of the prompt tokens came from the prefix cache",)),
        (Mark.SATURATED, ("arrived faster than they were served",)),
    ],
)
def test_each_mark_is_a_sentence(mark: Mark, parts: tuple[str, ...]) -> None:
    load = replace(load_metrics(), output_throughput_ci95=5.0)
    (said,) = mark_sentences([replace(measured(), load=load, gpu=GPU, server=SERVER, marks=(mark,))], WORKLOAD)
    assert said.startswith(f"{mark.value}: ")
    assert all(part in said for part in parts)
    bare = replace(measured(), client=None, server=None, warmup_s=None, marks=(mark,))
    assert len(mark_sentences([bare], WORKLOAD)) == 1


def test_marks_of_several_measurements_are_counted() -> None:
    found = [measured(marks=(Mark.IMPRECISE,)), measured(), measured(marks=(Mark.IMPRECISE, Mark.UNSTEADY))]
    assert [said.split(":")[0] for said in mark_sentences(found, WORKLOAD)] == [
        "unsteady in 1 of 3 measurements",
        "imprecise in 2 of 3 measurements",
    ]
