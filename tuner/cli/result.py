"""A stored study in; its trials, the table before and after, and the answer, on stdout."""

from collections.abc import Sequence

from tuner.cli.answer import answer_text, comparison_table
from tuner.cli.console import results
from tuner.cli.display import trials_table
from tuner.decide.objective import Objective, parse_objective
from tuner.decide.rank import rank
from tuner.decide.verdict import Decision
from tuner.export.unreal import unreal_sentence
from tuner.record.store import Store
from tuner.study.decided import launched_again
from tuner.types import Mark, Measured, Trial


def print_result(store: Store, name: str, found: Decision) -> None:
    """The trials, the before/after table and the answer, on stdout."""
    record = store.study(name)
    objective, unreal = parse_objective(record.objective), record.fingerprint.unreal
    results.print(
        trials_table(
            store.trials(name), found.chosen.number if found.chosen else None, unreal_sentence(record.fingerprint)
        )
    )
    after, before = _beside_the_defaults(store.trials(name), found, objective), found.defaults
    if before and after and isinstance(before.outcome, Measured) and isinstance(after.outcome, Measured):
        results.print()
        results.print(comparison_table(before, after, launched_again(store, name), unreal))
    results.print()
    results.print(answer_text(found, objective, unreal), soft_wrap=True, highlight=False)
    bound = [
        t.number for t in store.trials(name) if isinstance(t.outcome, Measured) and Mark.CLIENT_BOUND in t.outcome.marks
    ]
    if bound:
        trials = ", ".join(map(str, bound))
        results.print(
            f"The load generator was the limit in trial {trials}: the server may do better there.", highlight=False
        )
    if found.chosen:
        results.print(f"Export it: tuner export {name} --format command|yaml|json", highlight=False, soft_wrap=True)


def _beside_the_defaults(trials: Sequence[Trial], found: Decision, objective: Objective) -> Trial | None:
    """The winner; where that is the defaults, the best of the others."""
    if found.winner is not found.defaults:
        return found.winner
    return next((trial for trial in rank(trials, objective) if not trial.is_default), None)
