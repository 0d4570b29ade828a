"""A trial and what its study says of it in; the sentences that stand before everything that is made of it, out. Pure."""

import shlex
from collections.abc import Mapping

from tuner.decide.harm import Judged
from tuner.decide.verdict import UNFINISHED, Answer, Verdict
from tuner.decide.words.quality import harm_text
from tuner.space.answers import changes_answers, is_lossy
from tuner.types import Trial

NOTHING_ASKED: Mapping[int, Judged] = {}


def verdict_sentence(trial: Trial, verdict: Verdict | None) -> str | None:
    """None where the study recommends the trial after new launches; else what keeps it from that."""
    if verdict is None:
        return f"NOT VERIFIED: trial {trial.number} was measured once, and is not what its study recommends"
    if verdict.answer is Answer.NOT_VERIFIED:
        return f"NOT VERIFIED: {verdict.why}"
    if verdict.why.endswith(UNFINISHED):
        return f"NOT FINISHED: {verdict.why}"
    if trial.is_default or verdict.answer in (Answer.BETTER, Answer.ALONE, Answer.TRADE):
        return None
    return f"NOT RECOMMENDED: launched again, trial {trial.number} {_DID[verdict.answer]}"


_DID = {
    Answer.NOT_TOLD_APART: "is not told apart from vLLM's defaults: keep these",
    Answer.WORSE: "is worse than vLLM's defaults: keep these",
    Answer.CRASHED: "crashed: keep vLLM's defaults",
    Answer.MISSES: "missed an SLO, or stayed too near its limit",
    Answer.HARMED: "loses quality: keep vLLM's defaults",
    Answer.NOTHING_BETTER: "is not better than vLLM's defaults: keep these",
}


def cautions(trial: Trial, defaults: Trial | None = None, quality: Mapping[int, Judged] = NOTHING_ASKED) -> list[str]:
    """What its numbers do not say, a sentence each; `quality` is what answers said of the finalists, by trial."""
    if trial.is_default:
        return []
    usual, asked = (defaults.params if defaults else {}), quality.get(trial.number)
    names = changes_answers(trial.params, usual)
    if asked is None:
        return [
            f"the setting {name}={trial.params[name]} changes the model's answers, and they were not checked: check them first"
            for name in names
            if is_lossy(name)
        ]
    changed = ", ".join(f"{name}={trial.params[name]}" for name in names)
    told = f"; {changed} can change answers" if changed else ""
    return [f"trial {trial.number} {harm_text(asked)}{told}"]


def environment_words(environment: dict[str, str]) -> list[str]:
    """What stands before a command in a shell, so that it has these variables. A name that no shell takes goes through `env`,
    quoted as a whole."""
    if all(name.isascii() and name.isidentifier() for name in environment):
        return [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
    return ["env", "--", *(shlex.quote(f"{name}={value}") for name, value in environment.items())]
