"""Results in; the tables of the screen and of docs/search.md, as rows of texts, out."""

from collections.abc import Iterator, Sequence

import summary
from rich.console import Console
from rich.table import Table
from rich.text import Text
from summary import Result

Rows = list[tuple[str, ...]]
_MAIN = ("ours", "tpe", "gp", "random", "optuna-gp")


def tables(results: Sequence[Result], strategies: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...], Rows]]:
    """Each as (what it is, its header, its rows)."""
    main = [name for name in _MAIN if name in strategies] or list(strategies)
    ablations = [name for name in strategies if name not in main]
    yield (
        "launches to within 2 % of the best, median (three of four need no more)",
        ("surface", "points", *main),
        [(_name(result), f"{result['points']}", *(_launches(result, name) for name in main)) for result in results],
    )
    yield "over all surfaces", ("", *main), list(_overall(results, main))
    if ablations:
        compared = [name for name in ("ours", *ablations) if name in strategies]
        if found := summary.alike(results, compared):
            yield _worth(found), ("without", *_KINDS, "failed", "minutes"), list(_ablation(found, compared))


_KINDS = ("recorded", "simulated")


def show(results: Sequence[Result], strategies: Sequence[str]) -> None:
    console = Console(width=160, highlight=False)
    for title, header, rows in tables(results, strategies):
        shown = Table(*header, title=Text(title), title_justify="left")
        for row in rows:
            shown.add_row(*map(Text, row))
        console.print(shown)


def _worth(results: Sequence[Result]) -> str:
    count, seeds = len(results), min(result["seeds"] for result in results)
    return f"what each part is worth, launches without it to those with all, {seeds} seeds of {count} surfaces"


def _overall(results: Sequence[Result], names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    first = names[0]
    yield f"launches of {first} to those of", *(_factor(summary.against(results, first, name)) for name in names)
    yield f"minutes of {first} to those of", *(_factor(summary.minutes_against(results, first, name)) for name in names)
    yield "failed launches", *(f"{summary.failed_share(results, name):.1%}" for name in names)
    yield "most failures of one cause in a search", *(f"{summary.most_of_one_cause(results, name)}" for name in names)
    yield "stopped a launch within 2 % of the best", *(f"{summary.stopped_near_best(results, n):.1%}" for n in names)
    yield "optimism of the reported gain, median", *(_percent(summary.optimism(results, name)) for name in names)
    yield "deployed what is worse than the defaults", *(_percent(summary.below_defaults(results, n)) for n in names)
    yield "kept the defaults where they are best", *(_percent(summary.kept(results, name)) for name in names)
    yield "slowest proposal", *(f"{summary.slowest_proposal_s(results, name):.2f} s" for name in names)


def _ablation(results: Sequence[Result], names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for name in names:
        of_kinds = [[r for r in results if r["kind"] == kind] for kind in _KINDS]
        cells = [_factor(summary.against(of, name, names[0])) for of in of_kinds]
        part = name.partition("-")[2] or "nothing"
        minutes = summary.minutes_against(results, name, names[0])
        yield part, *cells, f"{summary.failed_share(results, name):.1%}", _factor(minutes)


def _name(result: Result) -> str:
    slos = f", {', '.join(result['slos'])}" if result["slos"] else ""
    asked = "" if result["objective"] == "throughput" else f", {result['objective']}"
    return f"{result['name']}{asked}{slos}"


def _launches(result: Result, name: str) -> str:
    most = result["trials"]
    middle, upper = summary.launches(result, name), summary.quartile(result, name)
    shown = [f">{most}" if count > most else f"{count:g}" for count in (middle, upper)]
    return f"{shown[0]} ({shown[1]})"


def _factor(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
