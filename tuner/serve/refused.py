"""Why a verb is refused: errors of one sentence that say whose fault it is. HTTP's status stands beside each, and MCP tells the
sentence.

UsageError
└── Refused                422  what is asked for is not allowed, or cannot be meant
    ├── NotThere           404  no such study, trial or proposal
    └── InTheWay           409  what there is does not allow it now
"""

from tuner.errors import UsageError


class Refused(UsageError):
    """What is asked for is not allowed, or cannot be meant."""

    status = 422


class NotThere(Refused):
    """There is no such study, trial or proposal."""

    status = 404


class InTheWay(Refused):
    """What there is does not allow it now."""

    status = 409
