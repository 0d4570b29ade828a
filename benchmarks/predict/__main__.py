"""How far tuner's model of a server is off: predictions beside measurements that were made elsewhere, set by set.

    python benchmarks/predict [--quick] [--docs docs/prediction.md] [h200] [surfaces] [slo-guard] [ppas] [starts] ...

Each set gives a table: the model as it is; calibrated on three launches of the same machine and model (its memory on one of
them), which leaves fewer points, and as it is on these; and a roofline from the data sheet. Half of the settings, by a hash,
are for testing, and constants may be fitted on the other half alone: the halves are shown apart.
Ranks are Spearman's correlation over the launch settings within one card, machine, model and load. benchmarks/data/README.md
tells where the points are from. Without names all sets are run that are here. `--quick` takes a part of the points.
"""

import argparse
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import document
import numpy as np
from baseline import roofline
from intervals import METRICS, Method, Pairs, classes, half_widths
from ours import Predictor
from points import SETS, Point, read
from score import COMPARED, Pair, Ranks, errors, feasibility, ranks
from show import console, percent, table
from speed import speed
from starts import STARTS, show_starts
from targets import OWN, all_held_out, held_out, lines

from tuner.errors import UsageError
from tuner.predict.error import ModelError

#: "same" is the model as it is on the points that the calibrated one is judged by: launches that it did not learn from.
NAMES: Mapping[Method, str] = {
    "plain": "tuner",
    "calibrated": "calibrated",
    "same": "tuner, same points",
    "roofline": "roofline",
}
#: Fewer pairs of launches say nothing of the error of a gain.
LEAST_PAIRS = 10
#: Of each half with --quick.
QUICK = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="set", help=", ".join(SETS))
    parser.add_argument("--quick", action="store_true", help="a part of the points")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="write the figures into docs/prediction.md")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - set(SETS):
        parser.error(f"there is no set {', '.join(sorted(unknown))}: there are {', '.join(SETS)}")
    found: dict[str, Mapping[Method, Sequence[Pair]]] = {}
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
            found[name] = _section(name, _part(points) if arguments.quick else points)
    console.rule("intervals")
    _intervals(found)
    console.rule("targets")
    verdicts = [*lines(found), *speed()]
    for line in verdicts:
        console.print(line, markup=False, soft_wrap=True)
    if arguments.docs:
        document.write(arguments.docs, found, verdicts)
    own = [pair for name in OWN if name in found for pair in held_out(name, found[name]["plain"])]
    console.print(f"for tuner/predict/error.py: {_model_error(own)}", markup=False, soft_wrap=True)


def _intervals(found: Pairs) -> None:
    """For tuner/predict/uncertainty.py."""
    of = classes(all_held_out(found))
    table(
        "what 95 % of the held-out points are off at most, as a factor",
        ("class", "points", *METRICS),
        [
            (kind, f"{len(some)}", *(f"{math.exp(widths[name]):.2f}" if name in widths else "-" for name in METRICS))
            for kind, some in sorted(of.items())
            for widths in [half_widths(some)]
        ],
    )


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


def _section(name: str, points: Sequence[Point]) -> Mapping[Method, Sequence[Pair]]:
    console.print(_told(points), markup=False)
    predictor = Predictor(points)
    learned = [(point, predictor.calibrated(point)) for point in points]
    pairs: Mapping[Method, list[Pair]] = {
        "plain": [(point, predictor.plain(point)) for point in points],
        "calibrated": [(point, told) for point, told in learned if told],
        "same": [(point, predictor.plain(point)) for point, told in learned if told],
        "roofline": [(point, roofline(point, predictor.shape(point))) for point in points],
    }
    for half, test in (("test half", True), ("train half", False)):
        rows = [_row(NAMES[method], [pair for pair in of if pair[0].is_test == test]) for method, of in pairs.items()]
        if any(point.is_test == test for point in points):
            table(
                f"{name}, {half}: median and 90th percentile of the relative error",
                ("", "points", *COMPARED, "starts or not", "rank: median, least", "pairs in order"),
                rows,
            )
    return pairs


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
