"""A study's decision, or one of its trials, in; its note in Markdown, as people read it beside the plots, out. Pure."""

import shlex
from collections.abc import Sequence

from tuner.decide.before_after import before_after, beside_the_defaults
from tuner.decide.objective import Objective
from tuner.decide.rank import hand_trials
from tuner.decide.verdict import Decision
from tuner.decide.words.decision import decision_text
from tuner.decide.words.numbers import change_of_metric, change_words, spread_text
from tuner.decide.words.recommended import changed_settings
from tuner.decide.words.rows import ROWS
from tuner.decide.words.settings import at_best_text, settings, status
from tuner.diagnose.trials import diagnosis_of
from tuner.export.caution import cautions
from tuner.space.redaction import redacted
from tuner.study.markdown import fenced, plain, table
from tuner.types import Failed, Measured, Outcome, Trial, Twin, Workload

#: Of a log's end: a note is no log.
_LINES, _CHARACTERS = 30, 4000


def verdict_text(found: Decision, objectives: Sequence[Objective]) -> str:
    """What the study says, in words."""
    return redacted(decision_text(found, objectives[0]))


def study_note(
    study: str,
    found: Decision,
    objectives: Sequence[Objective],
    trials: Sequence[Trial],
    again: Sequence[tuple[int, Outcome]],
    unreal: str | None,
) -> str:
    """`again` are the launches of the verification, `unreal` is what must stand first."""
    parts = [f"**{plain(unreal)}.**"] if unreal else []
    parts += [f"## {plain(study)}", plain(verdict_text(found, objectives))]
    if changed := changed_settings(found):
        width = max(len(one.how) for one in changed)
        parts.append(fenced("\n".join(f"{one.how:{width}}  {one.before}".rstrip() for one in changed)))
    if found.chosen is not None:
        parts += [f"{plain(sentence)}." for sentence in cautions(found.chosen, found.defaults, found.quality)]
    parts += _before_after(found, objectives, trials, again)
    named = shlex.quote(study)
    parts += ["Export it, or see more:", fenced(f"tuner export {named} --format yaml\ntuner show {named}")]
    return "\n\n".join(parts)


def trial_note(
    trial: Trial,
    found: Decision,
    objectives: Sequence[Objective],
    unreal: str | None,
    workload: Workload | None = None,
) -> str:
    usual = found.defaults.params if found.defaults else None
    is_chosen = found.chosen is not None and found.chosen.number == trial.number
    told = "recommended, " if is_chosen else ""
    parts = [f"**{plain(unreal)}.**"] if unreal else []
    parts.append(f"## Trial {trial.number}: {told}{plain(status(trial))}")
    differs = [settings({name: value}, None if trial.is_default else usual) for name, value in trial.params.items()]
    parts.append("vLLM's defaults:" if trial.is_default else "What differs from vLLM's defaults:")
    parts.append(fenced("\n".join(filter(None, differs)) or "nothing"))
    outcome = trial.outcome
    if isinstance(outcome, Twin):
        parts.append(f"Not launched, for it is as trial {outcome.equals}: {plain(outcome.why)}")
    elif isinstance(outcome, Failed):
        parts += _of_a_failure(outcome)
    else:
        parts += _of_a_measurement(trial, outcome, objectives, workload)
    return "\n\n".join(parts)


def _of_a_failure(failed: Failed) -> list[str]:
    parts = [f"**Why it failed** ({plain(failed.kind.value)}): {plain(redacted(failed.message))}"]
    if tail := "\n".join(redacted(failed.log_tail).splitlines()[-_LINES:])[-_CHARACTERS:]:
        parts += ["The last lines of its server's log:", fenced(tail)]
    return parts


def _of_a_measurement(
    trial: Trial, outcome: Measured, objectives: Sequence[Objective], workload: Workload | None
) -> list[str]:
    parts = []
    if outcome.marks:
        marks = ", ".join(mark.value for mark in outcome.marks)
        parts.append(f"To be known before its numbers are believed: **{plain(marks)}** (docs/metrics.md).")
    if (bound := at_best_text(objectives[0], trial)) is not None:
        parts.append(f"Stopped early, because it cannot become the best: {plain(bound)}.")
    if (diagnosis := diagnosis_of(trial, workload)) is not None:
        limits = [f"- {plain(one.cause)}: {plain('; '.join(one.evidence))}" for one in diagnosis.findings]
        parts += ["What held it back, the surest first:", "\n".join(limits)]
    return parts


def _before_after(
    found: Decision, objectives: Sequence[Objective], trials: Sequence[Trial], again: Sequence[tuple[int, Outcome]]
) -> list[str]:
    before, after = found.defaults, beside_the_defaults(trials, found, objectives[0])
    if before is None or after is None or not isinstance(before.outcome, Measured):
        return []
    if not isinstance(after.outcome, Measured):
        return []
    compared = before_after(before, after, again, objectives, hand_trials(trials))
    rows = []
    for one in compared.metrics:
        change = change_of_metric(one.metric, one.before, one.after)
        words = "" if change is None else change_words(ROWS[one.metric], change)
        cells = (spread_text(one.metric, values) for values in (one.before, *one.hand, one.after))
        rows.append((ROWS[one.metric].label, *cells, words))
    hand = (f"hand settings (trial {one.trial})" for one in compared.hand)
    return [plain(f"{compared.title}:"), table(("", "defaults", *hand, compared.after, "change"), rows)]
