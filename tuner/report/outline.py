"""A report's content in; its sections in the order in which they are read, out. Pure."""

from tuner.report.answering import compared_section, verdict_section
from tuner.report.conditions import environment_section, failed_section, method_section, model_section
from tuner.report.content import Report
from tuner.report.document import Document
from tuner.report.held_back import held_back_section
from tuner.report.progress import progress_section
from tuner.report.time_lines import time_lines_section
from tuner.report.trade_off import trade_off_section
from tuner.report.worth import worth_section


def document_of(report: Report) -> Document:
    """What to deploy first; how it is known after it."""
    said = f"{report.unreal} " if report.unreal else ""
    sections = (
        verdict_section(report),
        compared_section(report),
        progress_section(report),
        trade_off_section(report),
        worth_section(report),
        held_back_section(report),
        time_lines_section(report),
        failed_section(report),
        environment_section(report),
        method_section(report),
        model_section(report),
    )
    return Document(
        title=f"{said}Study {report.study}",
        word=report.unreal,
        unreal=report.unreal_sentence,
        about=(
            ("model", report.model),
            ("GPU", report.fingerprint.gpu or "none (the CPU)"),
            ("workload", report.workload),
            ("state", report.state),
            ("begun", f"{report.created_at:%Y-%m-%d %H:%M} UTC"),
        ),
        sections=[section for section in sections if section is not None],
        footer=f"Made by tuner {report.tuner_version} at {report.made_at:%Y-%m-%d %H:%M} UTC.",
        description=report.answer,
    )
