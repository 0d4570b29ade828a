"""`tuner spaces`: the search spaces that come with tuner."""

from rich.table import Table

from tuner.cli.console import results
from tuner.space.files import load_space, shipped_spaces


def run() -> None:
    """A row a space."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("gpu", "card", "memory", "compute capability", "parameters"):
        table.add_column(header)
    for name in sorted(shipped_spaces()):
        space = load_space(name)
        memory = f"{space.gpu.memory_gib:g} GiB" if space.gpu.memory_gib else "-"
        card = space.gpu.names[0] if space.gpu.names else "no GPU"
        table.add_row(name, card, memory, space.gpu.compute_capability or "-", ", ".join(space.parameters))
    results.print(table)
