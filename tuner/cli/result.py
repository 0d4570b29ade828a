"""A stored study in; its trials, the table before and after, and the answer, on stdout."""

import shlex
from collections.abc import Sequence

from rich.console import Console

from tuner.cli.answer import attribution_table, comparison_table
from tuner.cli.console import results, say
from tuner.cli.display import best_first, listed, trials_table
from tuner.cli.front import front_table
from tuner.cli.recommendation import recommendation_sentences, recommendation_table
from tuner.cli.tables import prose, show
from tuner.decide.before_after import beside_the_defaults
from tuner.decide.objective import Objective
from tuner.decide.rank import hand_trials
from tuner.decide.verdict import Decision
from tuner.decide.words.attribution import trimmed_sentence
from tuner.decide.words.decision import decision_text
from tuner.decide.words.settings import settings
from tuner.diagnose.words import verdict_line
from tuner.export.unreal import unreal_sentence
from tuner.predict.agreement import agreement, agreement_sentence
from tuner.record.store import Store
from tuner.study.decided import compared_by, explanation, launched_again, objectives_of, searched
from tuner.study.diagnosed import trial_diagnosis
from tuner.study.options import Options
from tuner.types import Mark, Measured, Trial


def print_result(store: Store, name: str, found: Decision, storage: str, console: Console = results) -> None:
    """The best trials, the before/after table, the answer with its settings, and the next step, on stdout."""
    record, trials = store.study(name), searched(store.trials(name))
    objectives, unreal = objectives_of(record), record.fingerprint.unreal
    print_trials(
        trials,
        found,
        objectives,
        unreal_sentence(record.fingerprint),
        console=console,
        more=next_step(storage, "trials", name, "--all"),
    )
    after, before = beside_the_defaults(trials, found, objectives[0]), found.defaults
    if before and after and isinstance(before.outcome, Measured) and isinstance(after.outcome, Measured):
        console.print()
        again, hand = launched_again(store, name), hand_trials(trials)
        show(console, comparison_table(before, after, again, unreal, compared_by(record), hand))
    if (told := explanation(store, name)) is not None:
        console.print()
        show(console, attribution_table(told, store.trials(name)))
        if sentence := trimmed_sentence(told):
            prose(console, f"{sentence[0].upper()}{sentence[1:]}.")
    if found.front is not None and found.front.points:
        console.print()
        say(console, "The front, by the first objective; values with their 95 % intervals:")
        show(console, front_table(found, found.front))
    console.print()
    prose(console, decision_text(found, objectives[0], unreal))
    if (table := recommendation_table(found)) is not None:
        show(console, table)
    for sentence in recommendation_sentences(found):
        prose(console, f"{sentence[0].upper()}{sentence[1:]}.")
    for trial in {one.number: one for one in (before, found.chosen) if one is not None}.values():
        if (diagnosis := trial_diagnosis(record, trial)) is not None:
            which = "the defaults" if trial.is_default else f"trial {trial.number}"
            prose(console, f"What holds {which} back: {verdict_line(diagnosis)}.")
    if (known := agreement(trials, objectives[0])) is not None:
        prose(console, agreement_sentence(known, record.fingerprint.unreal))
    bound = [t.number for t in trials if isinstance(t.outcome, Measured) and Mark.CLIENT_BOUND in t.outcome.marks]
    if bound:
        numbers = ", ".join(map(str, bound))
        prose(console, f"The load generator was the limit in trial {numbers}: the server may do better there.")
    if found.chosen:
        say(console, f"Export it: {next_step(storage, 'export', name)}")


def print_trials(
    trials: Sequence[Trial],
    found: Decision,
    objectives: Sequence[Objective],
    unreal: str | None,
    everything: bool = False,
    console: Console = results,
    more: str = "tuner trials STUDY --all",
) -> None:
    """The best ten, or all, and how to see those (`more`); the defaults' settings once, above."""
    chosen = found.chosen.number if found.chosen else None
    if unreal:
        prose(console, unreal)
    if found.defaults is not None:
        prose(
            console, f"vLLM's defaults (trial {found.defaults.number}): {settings(found.defaults.params)}", indent="  "
        )
    first = objectives[0]
    rows = best_first(trials, first) if everything else listed(trials, first, chosen)
    if not rows:
        say(console, "no trial has ended yet")
        return
    by = f" by {first.name}" if len(objectives) > 1 else ""
    say(console, f"The search, one launch each, the best{by} first:")
    show(console, trials_table(rows, chosen, objectives, found.defaults.params if found.defaults else None))
    if len(rows) < len(trials):
        say(console, f"{len(trials) - len(rows)} more: {more}")


def next_step(storage: str, *words: str) -> str:
    """A command to paste as it is; a URL that may hold a password is left to the environment."""
    is_plain = "@" not in storage and storage != Options().storage
    elsewhere = ("--storage", storage) if is_plain else ()
    return shlex.join(("tuner", *words, *elsewhere))
