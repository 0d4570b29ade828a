"""Work that shares nothing, on all cores; each piece has a seed of its own, so the number of cores changes no result."""

from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def on_all_cores(work: Callable[..., T], *arguments: Iterable[Any]) -> list[T]:
    """What `work` returns for each, in their order. It is a module's own function: processes are told its name."""
    with ProcessPoolExecutor() as pool:
        return list(pool.map(work, *arguments))
