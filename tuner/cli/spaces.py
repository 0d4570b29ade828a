"""`tuner spaces`: the search spaces that come with tuner; `tuner spaces show` prints one."""

import json as to_json
import sys
from collections.abc import Mapping

from rich.table import Table

from tuner.cli import tables
from tuner.cli.console import errors, results, write_json
from tuner.errors import UsageError, did_you_mean
from tuner.space.files import load_space, shipped_spaces
from tuner.space.search_space import Group


def run(json: str | None = None) -> None:
    """A row a space."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("gpu", "card", "memory", "compute capability", "groups (in brackets: only when named)"):
        table.add_column(header)
    found, groups = [], dict[str, Group]()
    for name, path in sorted(shipped_spaces().items()):
        space = load_space(name)
        memory = f"{space.gpu.memory_gib:g} GiB" if space.gpu.memory_gib else "-"
        card = space.gpu.names[0] if space.gpu.names else "no GPU"
        table.add_row(name, card, memory, space.gpu.compute_capability or "-", _named(space.groups))
        groups = {**groups, **space.groups}
        told = space.model_dump(mode="json")
        found.append(
            {"gpu": name, "file": str(path), "card": told["gpu"]} | {key: told[key] for key in ("groups", "parameters")}
        )
    console = errors if json == "-" else results
    tables.show(console, table)
    console.print()
    tables.show(console, _about(groups))
    write_json(json, to_json.dumps({"spaces": found}, indent=2, ensure_ascii=False) + "\n")


def _named(groups: Mapping[str, Group]) -> str:
    return ", ".join(name if group.open else f"[{name}]" for name, group in groups.items()).replace("[", "\\[")


def _about(groups: Mapping[str, Group]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("group (--groups)", "what it is for", "when it is worth opening"):
        table.add_column(header)
    for name, group in groups.items():
        table.add_row(name, group.about, group.worth)
    return table


def show(name: str) -> None:
    """The file as it is, its comments included. Raises UsageError."""
    known = shipped_spaces()
    if name not in known:
        raise UsageError(f"there is no search space {name!r}{did_you_mean(name, known)}: see `tuner spaces`")
    sys.stdout.write(known[name].read_text(encoding="utf-8"))
