"""The formats of a report, by their names."""

from collections.abc import Callable, Mapping

from tuner.report.content import Report
from tuner.report.html import report_html
from tuner.report.markdown import report_markdown
from tuner.report.report_json import report_json

FORMATS: Mapping[str, Callable[[Report], str]] = {
    "html": report_html,
    "markdown": report_markdown,
    "json": report_json,
}
