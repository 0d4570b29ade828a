"""What servers answered in; some kilobytes out, and back. No question is in it and no secret: only token ids, numbers, names of
answers, and sentences without what looks like a secret."""

import zlib
from dataclasses import replace

from pydantic import TypeAdapter

from tuner.record.rows import Verification
from tuner.record.tables import QualityRow, VerificationRow
from tuner.space.redaction import redacted
from tuner.types import Measured
from tuner.types.quality import Quality

_QUALITY = TypeAdapter(Quality)
#: Of a log-likelihood, in nats: far below what a kernel's rounding changes.
_DIGITS = 7


def packed(found: Quality) -> bytes:
    nll = tuple(None if value is None else round(value, _DIGITS) for value in found.nll)
    untold = tuple(map(redacted, found.untold))
    return zlib.compress(_QUALITY.dump_json(replace(found, nll=nll, untold=untold)))


def unpacked(answers: bytes) -> Quality:
    return _QUALITY.validate_json(zlib.decompress(answers))


def quality_row(launched: Verification, study: int) -> QualityRow | None:
    """None where the launch was asked nothing."""
    outcome = launched.outcome
    if not isinstance(outcome, Measured) or outcome.quality is None:
        return None
    row = QualityRow(study_id=study, trial_number=launched.trial_number, contest=launched.contest)
    row.round, row.nll, row.answers = launched.round, outcome.quality.mean_nll, packed(outcome.quality)
    return row


def key_of(row: QualityRow | VerificationRow) -> tuple[int, int, int]:
    return row.contest, row.round, row.trial_number


def with_quality(launched: Verification, answers: bytes | None) -> Verification:
    """The launch with what it answered."""
    if answers is None or not isinstance(launched.outcome, Measured):
        return launched
    return replace(launched, outcome=replace(launched.outcome, quality=unpacked(answers)))
