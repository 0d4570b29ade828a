"""A study in, its report as a file out."""

from tuner.report.formats import FORMATS
from tuner.serve.shown import TextShown
from tuner.serve.verbs import Verbs
from tuner.study.reported import report_of as content_of

_KINDS = {"html": ("text/html", "html"), "markdown": ("text/markdown", "md"), "json": ("application/json", "json")}


def report_of(verbs: Verbs, study: str, format: str) -> TextShown:
    """Raises NotThere, InTheWay."""
    text = FORMATS[format](content_of(verbs.reading, verbs.begun(study)))
    kind, ending = _KINDS[format]
    return TextShown(text=text, content_type=kind, file_name=f"report.{ending}")
