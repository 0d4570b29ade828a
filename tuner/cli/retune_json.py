"""Drifts and proposals in, the JSON of `tuner watch` and `tuner proposals` out; docs/retuning.md has every field. Pure."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from pydantic import JsonValue

from tuner.record.proposals import Difference, Step, StoredProposal
from tuner.retune.monitor import Look
from tuner.types.finite import json_text
from tuner.workload.stored import workload_json


def look_json(look: Look, study: str, urls: Sequence[str], proposal: int | None) -> str:
    """One line: how a watch stands, or a drift."""
    return (
        json.dumps(
            {
                "study": study,
                "urls": [*urls],
                "windows": look.windows,
                "evidence": round(look.evidence, 4),
                "drifted": bool(look.drifts),
                "drifts": [
                    {
                        "quantity": drift.change.quantity.value,
                        "more": drift.change.is_up,
                        "windows": drift.since,
                        "sentence": sentence,
                    }
                    for drift, sentence in zip(look.drifts, look.sentences, strict=True)
                ],
                "workload": None if look.workload is None else workload_json(look.workload),
                "proposal": proposal,
            },
            ensure_ascii=False,
        )
        + "\n"
    )


def proposals_json(found: Sequence[StoredProposal]) -> str:
    return json_text({"proposals": [_proposal(one) for one in found]})


def proposal_json(found: StoredProposal, log: Sequence[Step]) -> str:
    return json_text({**_proposal(found), "log": [_step(one) for one in log]})


def _proposal(one: StoredProposal) -> dict[str, JsonValue]:
    return {
        "proposal": one.number,
        "state": one.state.value,
        "urls": [*one.urls],
        "drift": one.drift,
        "study_before": one.study_before,
        "study_after": one.study_after,
        "trial": one.trial,
        "verdict": one.verdict,
        "gain": one.gain,
        "workload_changes": [_difference(each) for each in one.workload_changes],
        "settings_changes": [_difference(each) for each in one.settings_changes],
        "workload": {**one.workload},
        "canary_url": one.canary_url,
        "created_at": one.created_at.isoformat(),
        "changed_at": one.changed_at.isoformat(),
    }


def _difference(one: Difference) -> dict[str, JsonValue]:
    return asdict(one)


def _step(one: Step) -> dict[str, JsonValue]:
    return {"at": one.at.isoformat(), "who": one.who, "what": one.what, "why": one.why}
