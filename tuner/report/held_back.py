"""A report's diagnoses in; what held the defaults and the recommended trial back, as a section, out. Pure."""

from tuner.diagnose.words import sentences
from tuner.report.content import Report
from tuner.report.document import Block, Paragraph, Section


def held_back_section(report: Report) -> Section | None:
    """None where neither was measured."""
    if not report.diagnoses:
        return None
    blocks: list[Block] = []
    for one in report.diagnoses:
        whose = "the defaults" if report.by_number[one.trial].is_default else f"trial {one.trial}"
        blocks.append(Paragraph(f"{'. '.join(map(_begun, sentences(one.diagnosis, whose)))}."))
    return Section("held-back", "What holds it back", blocks)


def _begun(sentence: str) -> str:
    return f"{sentence[0].upper()}{sentence[1:]}".rstrip(".")
