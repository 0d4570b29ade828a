"""`tuner report`: all that a study found, as one file."""

import sys
from pathlib import Path

from tuner.cli.console import check_writable, errors, say, write_file
from tuner.cli.history import open_store
from tuner.errors import UsageError, choose
from tuner.report.formats import FORMATS
from tuner.study.reported import report_of


def run(study: str, format: str, output: Path | None, storage: str) -> None:
    """To the file, or to the screen."""
    if format not in FORMATS:
        raise UsageError(f"unknown --format {format!r}{choose(format, FORMATS)}")
    if output is not None:
        check_writable("--output", output)
    report = report_of(open_store(storage), study)
    text = FORMATS[format](report)
    if output is None:
        sys.stdout.write(text)
        return
    write_file("--output", output, text)
    kind = f"{report.unreal} " if report.unreal else ""
    say(errors, f"{output}: {kind}study {study}, {len(report.trials)} trials, {len(text.encode()) / 1e3:,.0f} kB")
