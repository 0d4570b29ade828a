"""What is exported in; where it comes from and what keeps it from being relied on, as lines of comment, out. Pure."""

from collections.abc import Iterable
from datetime import UTC
from math import isinf

from tuner import __version__
from tuner.decide.gain import Gain
from tuner.decide.verdict import Answer
from tuner.export.caution import cautions, verdict_sentence
from tuner.export.chosen import Chosen
from tuner.export.unreal import unreal_sentence
from tuner.types import Fingerprint


def head(chosen: Chosen, *notes: str | None) -> str:
    """Comments: what must stand first, then where it comes from, then the notes of the format."""
    return comments((*warnings(chosen), *(f"{name}: {value}" for name, value in provenance(chosen).items()), *notes))


def warnings(chosen: Chosen) -> list[str]:
    """A sentence for each thing that keeps the numbers from being relied on."""
    said = (unreal_sentence(chosen.fingerprint), verdict_sentence(chosen.trial, chosen.verdict))
    return [*filter(None, said), *cautions(chosen.trial, chosen.defaults, chosen.quality)]


def provenance(chosen: Chosen) -> dict[str, str]:
    """What was measured, when, and on what, by name."""
    trial, where = chosen.trial, chosen.fingerprint
    revision = f" (revision {where.model_revision})" if where.model_revision else ""
    return {
        "study": chosen.study,
        "trial": f"{trial.number}{' (vLLM defaults)' if trial.is_default else ''}",
        "measured": f"{trial.ended_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        "tuner": __version__,
        "vLLM": where.engine_version,
        "GPU": _gpu(where),
        "model": f"{where.model}{revision}",
        "gain": gain_sentence(chosen),
    }


def gain_sentence(chosen: Chosen) -> str:
    """The verified gain over vLLM's defaults, or that it is not verified, with why."""
    verdict, trial = chosen.verdict, chosen.trial
    if sentence := verdict_sentence(trial, verdict):
        _, _, why = sentence.partition(": ")
        return f"not verified: {why}"
    if trial.is_default or verdict is None:
        return "none: these are vLLM's defaults, which the study recommends to keep"
    if verdict.gain is None:
        return f"not verified against vLLM's defaults: {verdict.why or 'they were not launched again'}"
    launches = f"mean of {verdict.launches} new launches of it"
    if verdict.defaults:
        launches += f" and {verdict.defaults} of the defaults"
    kind = "a trade-off, " if verdict.answer is Answer.TRADE else ""
    unreal = f"{chosen.fingerprint.unreal}, " if chosen.fingerprint.unreal else ""
    return f"{unreal}verified: {kind}{_share(verdict.gain)} in {chosen.metric or 'the objective'}, {launches}"


def _share(gain: Gain) -> str:
    if isinf(gain.gain):
        return "more than vLLM's defaults, which have none,"
    interval = "" if gain.low is None or gain.high is None else f" [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
    return f"{100 * gain.gain:+.1f} %{interval} over vLLM's defaults"


def _gpu(where: Fingerprint) -> str:
    if where.gpu is None:
        return f"none: measured on the CPU, {where.host}"
    count = f"{where.gpu_count} x " if where.gpu_count > 1 else ""
    return f"{count}{where.gpu}" + (f", driver {where.driver}" if where.driver else "")


def comments(lines: Iterable[str | None]) -> str:
    """A comment a line, for shells, YAML and units: whatever a line holds, it stays one comment."""
    return "".join(f"# {_one_line(line)}\n" for line in lines if line)


def _one_line(text: str) -> str:
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return shown.rstrip(" \\")  # a unit would take a comment that ends in a backslash for one that goes on
