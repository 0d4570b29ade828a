"""A study in, its report as a file out: the place where the API meets tuner/report/."""

from tuner.serve.refused import InTheWay
from tuner.serve.shown import TextShown
from tuner.serve.verbs import Verbs


def report_of(verbs: Verbs, study: str, format: str) -> TextShown:
    """Raises NotThere, InTheWay."""
    verbs.begun(study)
    raise InTheWay(f"study {study!r} has no {format} report yet")
