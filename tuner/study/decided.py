"""A stored study in; what to deploy, and what follows it, out. It launches nothing, and knows nothing that launches."""

from tuner.decide.objective import parse_objective
from tuner.decide.slo import constraints, parse_slo
from tuner.decide.verdict import Decision, decision
from tuner.record.rows import StudyRecord
from tuner.record.store import Store
from tuner.types import Outcome


def study_decision(store: Store, name: str) -> Decision:
    """What to deploy, from what is stored. Raises UsageError if there is no such study."""
    record = store.study(name)
    objective = parse_objective(record.objective)
    slos = constraints(objective, [parse_slo(text) for text in slo_texts(record)])
    return decision(store.trials(name), launched_again(store, name), objective, slos)


def launched_again(store: Store, name: str) -> list[tuple[int, Outcome]]:
    """The outcomes of the verification, each with its trial's number."""
    return [(v.trial_number, v.outcome) for v in store.verifications(name)]


def slo_texts(record: StudyRecord) -> list[str]:
    """The SLOs of a study as they are stored, e.g. ["ttft_p99=0.5s"]."""
    stored = record.settings.get("slos")
    return [str(text) for text in stored] if isinstance(stored, list) else []
