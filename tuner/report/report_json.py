"""A report in, JSON for a machine out; docs/json.md has every field, docs/report.schema.json their types. Pure."""

import json
from dataclasses import asdict
from typing import Any

from tuner.decide.ballast import changed
from tuner.decide.before_after import BeforeAfter
from tuner.decide.pareto import Front, FrontPoint
from tuner.decide.rank import score
from tuner.decide.words.numbers import change_of_metric
from tuner.decide.words.rows import ROWS
from tuner.report.content import Again, Drawn, Method, Report
from tuner.report.progress import Launched, Step, progress
from tuner.types import Failed, Importance, Importances, Measured, Outcome, Trial
from tuner.types.finite import finite

#: Of the layout below: it grows with each change that is no addition.
_VERSION = 1


def report_json(report: Report) -> str:
    first = report.objectives[0]
    record = {
        **({report.unreal.lower(): report.unreal_sentence} if report.unreal else {}),
        "report_version": _VERSION,
        "study": report.study,
        "unreal": report.unreal,
        "made_at": report.made_at.isoformat(),
        "tuner_version": report.tuner_version,
        "created_at": report.created_at.isoformat(),
        "state": report.state,
        "gpu": report.gpu,
        "model": report.model,
        "workload": report.workload,
        "objectives": [
            {"objective": one.name, "metric": one.metric, "direction": "maximize" if one.maximize else "minimize"}
            for one in report.objectives
        ],
        "verdict": _verdict(report),
        "before_after": None if report.compared is None else _compared(report.compared),
        "launched_again": [_again(one) for one in report.again],
        "progress": [_launched(report, one) for one in progress(report.trials, first)],
        "begun": report.begun,
        "front": _front(report.found.front),
        "attribution": None if report.attribution is None else asdict(report.attribution),
        "importance": [_importances(one) for one in report.importances],
        "diagnoses": [
            {"trial": one.trial, "findings": [asdict(finding) for finding in one.diagnosis.findings]}
            for one in report.diagnoses
        ],
        "time_lines": [_drawn(one) for one in report.time_lines],
        "failed": [_failed(report, one) for one in report.trials if isinstance(one.outcome, Failed)],
        "environment": asdict(report.fingerprint),
        "method": _method(report.method),
        "prediction": None if report.agreement is None else asdict(report.agreement),
    }
    return json.dumps(finite(record), indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _verdict(report: Report) -> dict[str, Any]:
    found = report.found
    return {
        "answer": found.verdict.answer.value,
        "sentence": report.answer,
        "why": found.verdict.why,
        "recommended": found.chosen.number if found.chosen else None,
        "launches": found.verdict.launches,
        "launches_of_defaults": found.verdict.defaults,
        "gain": None if found.verdict.gain is None else asdict(found.verdict.gain),
        "level": found.verdict.level,
        "changes": _changes(report, found.chosen),
        "ballast": list(found.ballast),
        "cautions": list(report.cautions),
        "command": report.command,
    }


def _changes(report: Report, trial: Trial | None) -> dict[str, Any]:
    """The settings that differ from the defaults, each with both values."""
    usual = report.found.defaults.params if report.found.defaults else {}
    if trial is None or trial.is_default:
        return {}
    names = changed(trial.params, usual)
    return {name: {"value": trial.params.get(name), "default": usual.get(name)} for name in names}


def _compared(found: BeforeAfter) -> dict[str, Any]:
    return {
        "defaults": found.defaults,
        "trial": found.other,
        "is_again": found.is_again,
        "hand_settings": [asdict(one) for one in found.hand],
        "metrics": {
            one.metric: {
                "defaults": list(one.before),
                "trial": list(one.after),
                "hand_settings": [list(values) for values in one.hand],
                "change": _share(one.metric, change_of_metric(one.metric, one.before, one.after)),
            }
            for one in found.metrics
        },
    }


def _share(metric: str, change: float | None) -> float | None:
    """Points of a share as the difference of shares."""
    return change / ROWS[metric].factor if change is not None and ROWS[metric].unit == "%" else change


def _outcome(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Failed):
        return {"metrics": None, "marks": [], "failure": {"kind": outcome.kind.value, "message": outcome.message}}
    return {"metrics": outcome.metrics(), "marks": [mark.value for mark in outcome.marks], "failure": None}


def _again(one: Again) -> dict[str, Any]:
    return {"trial": one.trial, "round": one.round, **_outcome(one.outcome)}


def _launched(report: Report, one: Launched) -> dict[str, Any]:
    trial, chosen = one.trial, report.found.chosen
    return {
        "place": one.place,
        "trial": trial.number,
        "is_default": trial.is_default,
        "is_recommended": chosen is not None and chosen.number == trial.number,
        "step": one.step.value,
        "values": {objective.metric: score(trial, objective) for objective in report.objectives},
        "best_so_far": one.best,
        "changes": _changes(report, trial),
        "marks": [mark.value for mark in trial.outcome.marks] if isinstance(trial.outcome, Measured) else [],
        "slo_violations": dict(trial.violations) if one.step is not Step.EQUALS else {},
        "started_at": trial.started_at.isoformat(),
        "ended_at": trial.ended_at.isoformat(),
    }


def _front(front: Front | None) -> list[dict[str, Any]]:
    return [] if front is None else [_point(front, point) for point in front.points]


def _point(front: Front, point: FrontPoint) -> dict[str, Any]:
    return {
        "trial": point.trial.number,
        "is_default": point.trial.is_default,
        "is_knee": point.trial.number == front.knee,
        "is_verified": point.is_verified,
        "launches": point.launches,
        "objectives": {one.metric: asdict(told) for one, told in zip(front.objectives, point.told, strict=True)},
    }


def _importances(found: Importances) -> dict[str, Any]:
    settings = [_importance(one) for one in found.settings]
    return {"metric": found.metric, "trials": found.trials, "measured": found.measured, "settings": settings}


def _importance(one: Importance) -> dict[str, Any]:
    return {**asdict(one), "credit": one.credit.value, "aliases": list(one.aliases)}


def _drawn(one: Drawn) -> dict[str, Any]:
    return {"trial": one.trial, "is_default": one.is_default, "round": one.round, **asdict(one.timeline)}


def _failed(report: Report, trial: Trial) -> dict[str, Any]:
    assert isinstance(trial.outcome, Failed)
    failed = {"kind": trial.outcome.kind.value, "message": trial.outcome.message}
    return {"trial": trial.number, **failed, "changes": _changes(report, trial)}


def _method(method: Method) -> dict[str, Any]:
    return asdict(method)
