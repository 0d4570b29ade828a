"""Process groups of one server in, what they are together out: it lives while all live, and is stopped as a whole.

It knows nothing of vLLM.
"""

import asyncio
from collections.abc import Sequence

from tuner.launch.process import ProcessGroup
from tuner.launch.processes import identities, members
from tuner.types import ProcessId


class Together:
    """At least one group; the first has the port. `beneath` is what they all stand on: it is stopped once they are gone."""

    def __init__(self, groups: Sequence[ProcessGroup], beneath: Sequence[ProcessGroup] = ()) -> None:
        self._groups, self._beneath = tuple(groups), tuple(beneath)

    @property
    def _all(self) -> tuple[ProcessGroup, ...]:
        return (*self._groups, *self._beneath)

    @property
    def sessions(self) -> tuple[int, ...]:
        return tuple(group.session for group in self._all)

    def exit_code(self) -> int | None:
        """Of the first that has ended; None while all run."""
        codes = (group.exit_code() for group in self._all)
        return next((code for code in codes if code is not None), None)

    def owns_port(self, port: int) -> bool:
        return self._groups[0].owns_port(port)

    def members(self) -> dict[ProcessId, frozenset[ProcessId]]:
        """The processes of each group that live, by its leader."""
        return {group.id: identities(members(group.session)) for group in self._all}

    async def stop(self, deadline_s: float) -> None:
        """As `ProcessGroup.stop`, all at once, but what is beneath at last."""
        try:
            await asyncio.gather(*(group.stop(deadline_s) for group in self._groups))
        finally:
            await asyncio.gather(*(group.stop(deadline_s) for group in self._beneath))
