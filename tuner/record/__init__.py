"""Trials in; the same trials out, after a crash too. Our own tables beside Optuna's, in one database."""

from tuner.record.rows import Launch, StudyRecord, Verification, differences
from tuner.record.store import Store

__all__ = ["Launch", "Store", "StudyRecord", "Verification", "differences"]
