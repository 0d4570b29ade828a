"""The figures of docs/prediction.md, written between its two marks."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from intervals import METRICS, Method, Pairs, classes, half_widths
from points import UNSEEN
from score import COMPARED, LEAST_LAUNCHES, Pair, errors, feasibility, picks, ranks
from show import percent
from targets import OWN, all_held_out, held_out

from tuner.predict.error import ERROR

BEGIN, END = "<!-- figures: made by benchmarks/predict -->", "<!-- end of the figures -->"
_WHAT = {
    "h200": "own, three models, loads drawn anew",
    "surfaces": "own, fixed loads, all groups",
    "h200-tables": "own, older tables",
    "slo-guard": "SLO-Guard, A100",
    "ppas": "P-PAS, A100, H100, RTX 5090",
    "ml-energy": "ML.ENERGY, H100, B200",
}
_CLASSES = {
    "host": "measured card, three launches on the host",
    "card": "measured card",
    "none": "another card",
}


def write(path: Path, found: Pairs, verdicts: Sequence[str]) -> None:
    """Raises ValueError where the marks are missing."""
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    figures = re.sub(r"(\d)%", r"\1 %", "\n".join(_figures(found, verdicts)))
    path.write_text(f"{before}{BEGIN}\n\n{figures}\n\n{END}{after}", encoding="utf-8")


def _figures(found: Pairs, verdicts: Sequence[str]) -> Iterator[str]:
    yield f"Of all our own held-out loads, as it is, in the median: {ERROR.output_throughput:.0%} of throughput,"
    yield f"{ERROR.ttft:.0%} of TTFT, {ERROR.tpot:.0%} of TPOT, {ERROR.e2el:.0%} of E2E latency (what `tuner plan` tells)."
    yield ""
    yield "Held-out points, median and 90th percentile of the relative error; ranks and picks of groups of "
    yield f"{LEAST_LAUNCHES} and more settings under one load (for P-PAS and ML.ENERGY, curves over one setting):"
    yield ""
    yield "| Set | Points | Throughput | TTFT | TPOT | E2E latency | Rank: median, least | The pick falls short by |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, of in found.items():
        pairs = held_out(name, of["plain"])
        if pairs:
            yield f"| {_WHAT.get(name, name)} | {len(pairs)} | {_cells(pairs)} | {_ranks(pairs)} |"
    own = {
        method: [pair for name in OWN if name in found for pair in held_out(name, found[name][method])]
        for method in _METHODS
    }
    yield ""
    yield f"Of our own loads, on the {len(own['same'])} points that the model did not learn from when it was calibrated:"
    yield ""
    yield "| | Throughput | TTFT | TPOT | E2E latency | Starts or not |"
    yield "|---|---|---|---|---|---|"
    for method, name in _METHODS.items():
        right = feasibility(own[method])
        yield f"| {name} | {_cells(own[method])} | {sum(right)} of {len(right)} |"
    unseen = [pair for pair in found.get("surfaces", {}).get("plain", ()) if ("surfaces", pair[0].host) in UNSEEN]
    if unseen:
        yield ""
        yield f"On a host that no constant has seen (an H100, {len(unseen)} loads): {_cells(unseen).replace(' | ', '; ')}"
        yield "(throughput; TTFT; TPOT; E2E latency)."
    yield ""
    yield "What 95 % of the held-out measurements are off at most, as a factor: the intervals of predictions follow from it."
    yield ""
    yield "| | Points | Throughput | TTFT | TPOT | E2E latency |"
    yield "|---|---|---|---|---|---|"
    of_class = classes(all_held_out(found))
    for kind, text in _CLASSES.items():
        if pairs := of_class.get(kind, []):
            widths = half_widths(pairs)
            cells = " | ".join(f"{math.exp(widths[name]):.2f}" if name in widths else "-" for name in METRICS)
            yield f"| {text} | {len(pairs)} | {cells} |"
    yield ""
    yield from (f"- {line}" for line in verdicts)


_METHODS: Mapping[Method, str] = {
    "same": "as it is",
    "calibrated": "calibrated on three launches",
    "roofline": "roofline of the data sheet, all points",
}


def _cells(pairs: Sequence[Pair]) -> str:
    return " | ".join(_cell(errors(pairs, name)) for name in COMPARED if name in METRICS)


def _cell(found: Sequence[float]) -> str:
    return f"{percent(median(found))}, {percent(float(np.percentile(found, 90)))}" if found else "-"


def _ranks(pairs: Sequence[Pair]) -> str:
    found, short = ranks(pairs).correlations, picks(pairs)
    if not found:
        return "- | -"
    return f"{median(found):.2f}, {min(found):.2f} ({len(found)}) | {percent(median(short))}, {percent(max(short))}"
