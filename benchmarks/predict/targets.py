"""All sets' predictions in; what was aimed at, and whether it was met, out: lines of text. Pure.

A target is judged by what no constant was fitted on: the test halves, and all points of a host that the fit has not seen. The
loads of ours are `surfaces` and `h200`; `UNSEEN` are the hosts of `surfaces` that the fit leaves out.
"""

from collections.abc import Iterator, Sequence
from statistics import median

from intervals import Pairs, covered, inside
from points import UNSEEN
from score import LEAST_LAUNCHES, Pair, errors, picks, ranks
from show import percent, verdict

OWN = ("h200", "surfaces")
#: Those whose ranks are told; the tables of `h200-tables` have too few rows, and TP and two cards of old versions are others'.
RANKED = ("h200", "surfaces", "slo-guard", "ppas", "ml-energy")


def lines(pairs: Pairs) -> Iterator[str]:
    """One a target."""
    tested = all_held_out(pairs)
    yield from _ranks(tested)
    yield from _picks(pairs, tested)
    unseen = [pair for pair in pairs.get("surfaces", {}).get("plain", ()) if _unseen("surfaces", pair)]
    yield _median("throughput within 15 % on a host that no constant has seen", 0.15, unseen, "throughput")
    learned = [pair for name in OWN for pair in tested.get(name, {}).get("calibrated", ())]
    yield _median("throughput within 8 % after three launches", 0.08, learned, "throughput")
    yield _median("TTFT within 25 % after three launches", 0.25, learned, "TTFT")
    yield _median("TPOT within 8 % after three launches", 0.08, learned, "TPOT")
    plain = [pair for name in OWN for pair in tested.get(name, {}).get("plain", ())]
    yield _median("TTFT within 25 % as it is", 0.25, plain, "TTFT")
    yield _median("TPOT within 8 % as it is", 0.08, plain, "TPOT")
    for name, (share, count) in inside(tested).items():
        met = 0.90 <= share <= 0.98 if count >= LEAST_LAUNCHES else None
        yield verdict(f"95 % of measurements in the interval that tuner tells: {name}", met, f"{share:.1%} of {count}")
    for name, found in covered(tested).items():
        share = sum(weight for is_inside, weight in found if is_inside) / sum(weight for _, weight in found)
        met = 0.90 <= share <= 0.98 if len(found) >= LEAST_LAUNCHES else None
        yield verdict(
            f"95 % of measurements in an interval learned of the other half: {name}",
            met,
            f"{share:.1%} of {len(found)}",
        )


def held_out(name: str, of: Sequence[Pair]) -> list[Pair]:
    """The points of a set that no constant was fitted on."""
    return [pair for pair in of if pair[0].is_test or _unseen(name, pair)]


def all_held_out(pairs: Pairs) -> Pairs:
    return {name: {method: held_out(name, of) for method, of in known.items()} for name, known in pairs.items()}


def _unseen(name: str, pair: Pair) -> bool:
    return (name, pair[0].host) in UNSEEN


def _ranks(tested: Pairs) -> Iterator[str]:
    for method in ("plain", "calibrated"):
        of = {name: ranks(tested[name][method]).correlations for name in RANKED if name in tested}
        every = [one for some in of.values() for one in some]
        told = "; ".join(
            f"{name} {median(some):.2f}, {min(some):.2f} of {len(some)}" for name, some in of.items() if some
        )
        for target, least, value in (
            ("0.85 in the median", 0.85, median(every) if every else None),
            ("0.7 at worst", 0.7, min(every, default=None)),
        ):
            met = None if value is None else value >= least
            yield verdict(
                f"rank correlation {target} ({method})", met, f"{value or 0:.2f} of {len(every)} groups; {told}"
            )


def _picks(pairs: Pairs, tested: Pairs) -> Iterator[str]:
    for name, of in (("ppas", tested), ("surfaces", tested), ("surfaces", pairs)):
        if name in of:
            found = picks(of[name]["plain"])
            half = "test half" if of is tested else "both halves"
            met = median(found) <= 0.03 if found else None
            number = f"median {percent(median(found or [0]))}, most {percent(max(found, default=0))} of {len(found)}"
            yield verdict(f"the setting that the model picks is within 3 % of the best ({name}, {half})", met, number)


def _median(target: str, limit: float, of: Sequence[Pair], name: str) -> str:
    found = errors(of, name)
    if not found:
        return verdict(target, None, "no such point")
    return verdict(target, median(found) <= limit, f"median {percent(median(found))} of {len(found)}")
