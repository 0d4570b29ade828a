"""How far tuner's model of a server is off: predictions beside measurements that were made elsewhere, set by set.

    python benchmarks/predict [--quick] [h200] [h200-tables] [slo-guard] [starts] [starts-others] [aiconfigurator] ...

Each set gives a table: the model as it is; calibrated on three launches of the same machine and model (its memory on one of
them), which leaves fewer points, and as it is on these; and a roofline from the data sheet. Half of the settings, by a hash,
are for testing, and constants may be fitted on the other half alone: the halves are shown apart.
Ranks are Spearman's correlation over the launch settings within one card, machine, model and load. benchmarks/data/README.md
tells where the points are from. Without names all sets are run that are here. `--quick` takes a part of the points.
"""

import argparse
import random
from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np
from baseline import roofline
from ours import Predictor
from points import SETS, Point, read
from score import COMPARED, LEAST_LAUNCHES, Pair, Ranks, errors, feasibility, ranks
from show import console, percent, table, verdict
from starts import STARTS, show_starts

from tuner.errors import UsageError
from tuner.predict.error import ModelError

PLAIN, CALIBRATED, ROOFLINE = "tuner", "calibrated", "roofline"
#: As it is, on the points that the calibrated model is judged by: those of other launches than it learned from.
SAME = "tuner, same points"
#: Fewer pairs of launches say nothing of the error of a gain.
LEAST_PAIRS = 10
#: Of each half with --quick.
QUICK = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="set", help=", ".join(SETS))
    parser.add_argument("--quick", action="store_true", help="a part of the points")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - set(SETS):
        parser.error(f"there is no set {', '.join(sorted(unknown))}: there are {', '.join(SETS)}")
    for name in arguments.sections or SETS:
        console.rule(name)
        try:
            points = read(name)
        except UsageError as error:
            console.print(f"{name}: left out: {error}", markup=False, soft_wrap=True)
            continue
        if name in STARTS:
            show_starts(name, points)
        else:
            _section(name, _part(points) if arguments.quick else points)


def _part(points: Sequence[Point]) -> list[Point]:
    """The same points each time, of both halves, whole launches."""
    found: list[Point] = []
    for half in (False, True):
        launches = sorted({point.launch for point in points if point.is_test == half})
        random.Random(0).shuffle(launches)
        kept: list[Point] = []
        for launch in launches:
            if len(kept) < QUICK:
                kept += [point for point in points if point.launch == launch]
        found += kept
    return found


def _section(name: str, points: Sequence[Point]) -> None:
    console.print(_told(points), markup=False)
    predictor = Predictor(points)
    learned = [(point, predictor.calibrated(point)) for point in points]
    pairs: Mapping[str, list[Pair]] = {
        PLAIN: [(point, predictor.plain(point)) for point in points],
        CALIBRATED: [(point, told) for point, told in learned if told],
        SAME: [(point, predictor.plain(point)) for point, told in learned if told],
        ROOFLINE: [(point, roofline(point, predictor.shape(point))) for point in points],
    }
    for half, test in (("test half", True), ("train half", False)):
        table(
            f"{name}, {half}: median and 90th percentile of the relative error",
            ("", "points", *COMPARED, "starts or not", "rank: median, least", "pairs in order"),
            [_row(method, [pair for pair in of if pair[0].is_test == test]) for method, of in pairs.items()],
        )
    held_out = {method: [pair for pair in of if pair[0].is_test] for method, of in pairs.items()}
    for line in [*(_targets(held_out) if name == "h200" else []), *_rank_targets(held_out)]:
        console.print(line, markup=False)
    if name == "h200":
        console.print(f"for tuner/predict/error.py: {_model_error(held_out[PLAIN])}", markup=False, soft_wrap=True)


def _told(points: Sequence[Point]) -> str:
    launches, loads = {point.launch for point in points}, sum(point.load is not None for point in points)
    failed = {point.launch for point in points if point.failure}
    what = sorted({f"{point.gpu}, {point.model}, vLLM {point.engine_version}" for point in points})
    return f"{len(points)} points, {len(launches)} launches ({len(failed)} failed), {loads} loads: {'; '.join(what)}"


def _row(method: str, pairs: Sequence[Pair]) -> tuple[str, ...]:
    cells = [_errors(errors(pairs, name)) for name in COMPARED]
    right = feasibility(pairs)
    starts = f"{sum(right)} of {len(right)}" if right else "-"
    found = ranks(pairs)
    return method, f"{len(pairs)}", *cells, starts, _ranks(found), _ordered(found)


def _errors(found: Sequence[float]) -> str:
    return f"{percent(median(found))}, {percent(float(np.percentile(found, 90)))}" if found else "-"


def _ranks(found: Ranks) -> str:
    if not found.correlations:
        return "-"
    groups = f"{len(found.correlations)} groups, n {found.launches}"
    return f"{median(found.correlations):.2f}, {min(found.correlations):.2f} ({groups})"


def _ordered(found: Ranks) -> str:
    if found.ordered is None or found.gain is None:
        return "-"
    return f"{found.ordered:.0%} of {found.pairs}, gain off by {percent(found.gain)}"


def _targets(held_out: Mapping[str, list[Pair]]) -> list[str]:
    """The targets, on the half that had no part in the constants."""
    plain, calibrated = held_out[PLAIN], held_out[CALIBRATED]
    lines = []
    for target, limit, of, name in (
        ("KV tokens within 5 %", 0.05, plain, "KV tokens"),
        ("KV tokens within 2 % after one calibration launch", 0.02, calibrated, "KV tokens"),
        ("throughput within 15 %", 0.15, plain, "throughput"),
        ("throughput within 8 % after three calibration launches", 0.08, calibrated, "throughput"),
    ):
        if found := errors(of, name):
            within = f"{np.mean(np.array(found) <= limit):.0%} of {len(found)} within"
            lines.append(verdict(target, median(found) <= limit, f"median {percent(median(found))}, {within}"))
        else:
            lines.append(verdict(target, None, "no such point in this half"))
    right, refused = feasibility(plain), len({point.launch for point, _ in plain if point.refused})
    met = sum(right) >= 0.98 * len(right) if refused else None  # who says always that it starts is right, too
    number = f"{sum(right)} of {len(right)}, of which {refused} did not start"
    lines.append(verdict("starts or not right in 98 %", met, number))
    return lines


def _rank_targets(held_out: Mapping[str, list[Pair]]) -> list[str]:
    lines = []
    for method in (PLAIN, CALIBRATED):
        found = ranks(held_out[method])
        met, number = None, f"no load has {LEAST_LAUNCHES} launches in this half; pairs in order: {_ordered(found)}"
        if found.correlations:
            met = median(found.correlations) >= 0.9
            number = f"median, least: {_ranks(found)}; pairs in order: {_ordered(found)}"
        lines.append(verdict(f"rank correlation 0.9 ({method})", met, number))
    return lines


def _model_error(pairs: Sequence[Pair]) -> ModelError:
    """What the product tells its users of its error."""
    middle = {name: round(median(found), 3) if (found := errors(pairs, name)) else None for name in COMPARED}
    throughput, right, order = errors(pairs, "throughput"), feasibility(pairs), ranks(pairs)
    return ModelError(
        output_throughput=middle["throughput"],
        output_throughput_p90=round(float(np.percentile(throughput, 90)), 3) if throughput else None,
        ttft=middle["TTFT"],
        tpot=middle["TPOT"],
        e2el=middle["E2EL"],
        kv_cache_tokens=middle["KV tokens"],
        starts=round(sum(right) / len(right), 3) if right else None,
        rank_correlation=round(median(order.correlations), 3) if order.correlations else None,
        gain=None if order.gain is None or order.pairs < LEAST_PAIRS else round(float(order.gain), 3),
        gpus=tuple(sorted({point.gpu for point, _ in pairs})),
        launches=len({point.launch for point, _ in pairs}),
    )


if __name__ == "__main__":
    main()
