"""What a study begins with that others of its database have learned. Those are studies over a host that is the model with other
rates and a term that it lacks, and noise; nothing is launched, the database is a real one."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from math import log
from pathlib import Path

import pytest
from modelled_host import Host, off, setup_of
from samples import NOW

from tuner.errors import UsageError
from tuner.predict.host import REFERENCE, rates_on
from tuner.predict.prediction import Calibration
from tuner.predict.step import Rates
from tuner.record.rows import StudyRecord
from tuner.record.store import Store
from tuner.space.files import load_space
from tuner.study.setup import Setup
from tuner.study.transfer import Transfer, _point, transfer
from tuner.types import Failed, LoadMetrics, Params, Proposal, present
from tuner.types.resolved import Resolved
from tuner.workload.presets import PRESETS
from tuner.workload.stored import same_load, stored_workload, workload_json

SLOW = Calibration(rates=replace(Rates(), host=1.8, launch=1.8, front=1.8))
POINTS: tuple[Params, ...] = (
    {},
    {"max_num_seqs": 32, "stream_interval": 4},
    {"enforce_eager": True},
    {"stream_interval": 8},
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path / 'tuner.db'}")
    yield opened
    opened.close()


class Odd(Host):
    """Eager is slower by a half than any model says."""

    def measure(self, params: Params) -> LoadMetrics | Failed:
        found = super().measure(params)
        if isinstance(found, Failed) or not params.get("enforce_eager"):
            return found
        return replace(found, output_throughput=present(found.output_throughput) / 1.5)


def a_record(setup: Setup, name: str, days: int = 0, **changed: object) -> StudyRecord:
    return StudyRecord(
        name=name,
        created_at=NOW + timedelta(days=days),
        gpu=setup.space.name,
        model=setup.launcher.model,
        workload=setup.workload.name,
        objective=setup.objective.name,
        direction="maximize",
        space_digest=setup.space.digest(),
        space=setup.space.model_dump_json(),
        fingerprint=replace(setup.fingerprint, **changed),  # type: ignore[arg-type]
        settings={"seed": 0, "slos": [], "workload": workload_json(setup.workload)},
    )


def keep(store: Store, host: Host, record: StudyRecord, points: Sequence[Params] = POINTS) -> None:
    store.create_or_get_study(record)
    for one in (host.trial(number, params) for number, params in enumerate(points)):
        proposal = Proposal(number=one.number, params=one.params, is_default=one.is_default)
        store.begin(record.name, proposal, one.command, Resolved(settings={}, digest=""), one.started_at)
        store.finish(record.name, one)


def a_study(warm_start: str = "auto", **options: object) -> Setup:
    return replace(setup_of(warm_start=warm_start, **options), study="now")  # type: ignore[arg-type]


def begun(setup: Setup, store: Store, told: list[str] | None = None) -> Transfer | None:
    return transfer(setup, a_record(setup, "now", days=9), store, (told if told is not None else []).append)


def study_of(taught: Transfer | None) -> str | None:
    return None if taught is None else taught.study


def test_the_first_predictions_of_a_second_study_are_as_good_as_the_last_of_the_first(store: Store) -> None:
    setup = a_study()
    keep(store, Host(setup, SLOW), a_record(setup, "before"))
    told: list[str] = []
    taught = begun(setup, store, told)
    assert taught is not None
    assert told == [taught.why]
    assert taught.why.endswith("begins with what 4 launches of study before have shown, on the same workload")
    assert taught.calibration.rates.host == pytest.approx(1.8, rel=0.25)
    errors = []
    for begin in (setup.calibration, taught.calibration):
        host = Host(replace(setup, calibration=begin), SLOW, seed=1)
        _, trials = host.study(({},))
        errors.append(off(trials[0]))
    assert errors[1] < errors[0] / 3


def test_where_the_model_was_wrong_all_the_same_is_carried_as_a_residual(store: Store) -> None:
    setup = a_study()
    keep(store, Odd(setup, SLOW), a_record(setup, "before"))
    taught = begun(setup, store)
    assert taught is not None
    by_eager = {bool(one.params.get("enforce_eager")): one.residual["output_throughput"] for one in taught.earlier}
    assert by_eager[True] - by_eager[False] == pytest.approx(-log(1.5), abs=0.2)
    assert all(0.10 <= one.error < 0.15 for one in taught.earlier)


def test_another_workload_and_an_slo_teach_too_but_less_surely(store: Store) -> None:
    before, setup = a_study(workload="long-prompt"), a_study(slo=["ttft_p99=500ms"])
    keep(store, Host(before, SLOW), a_record(before, "before"))
    told: list[str] = []
    taught = begun(setup, store, told)
    assert taught is not None
    assert "on workload long-prompt" in told[0]
    assert all(one.error > 0.2 and {"output_throughput", "ttft_p99"} <= one.residual.keys() for one in taught.earlier)


def test_the_same_workload_is_preferred_to_a_newer_study(store: Store) -> None:
    setup, other = a_study(), a_study(workload="long-prompt")
    keep(store, Host(setup, SLOW), a_record(setup, "same"))
    keep(store, Host(other, SLOW), a_record(other, "newer", days=1))
    assert study_of(begun(setup, store)) == "same"
    keep(store, Host(setup, SLOW), a_record(setup, "later", days=10))
    assert study_of(begun(setup, store)) == "same", "a study that began later teaches nothing when this one goes on"
    assert study_of(begun(replace(setup, warm_start="newer"), store)) == "newer"
    assert begun(replace(setup, warm_start="none"), store) is None


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"gpu": "SIMULATED NVIDIA L4"}, "ran on 1 x SIMULATED NVIDIA L4"),
        ({"engine_version": "SIMULATED vLLM 0.28.1"}, "whose engine is another one"),
        ({"engine_version": "0.32.0"}, "is real and this study is SIMULATED"),
        ({"gpu_count": 2}, "ran on 2 x"),
    ],
)
def test_what_is_not_compatible_teaches_nothing_and_says_why(
    store: Store, changed: dict[str, object], why: str
) -> None:
    setup = a_study()
    keep(store, Host(setup, SLOW), a_record(setup, "before", **changed), POINTS[:3])  # type: ignore[arg-type]
    told: list[str] = []
    assert begun(setup, store, told) is None
    assert len(told) == 1
    assert why in told[0]
    with pytest.raises(UsageError, match=f"--warm-start before: before .*{why}.*: name another study, or auto"):
        begun(replace(setup, warm_start="before"), store)


def test_a_version_of_the_same_engine_teaches(store: Store) -> None:
    setup = a_study()
    keep(store, Host(setup, SLOW), a_record(setup, "before", engine_version="SIMULATED vLLM 0.29.0"))
    assert study_of(begun(setup, store)) == "before"


def test_another_model_and_too_few_launches_teach_nothing(store: Store) -> None:
    setup = a_study()
    other = replace(
        a_record(setup, "llama", model="other", model_revision=None), model="meta-llama/Llama-3.1-8B-Instruct"
    )
    keep(store, Host(setup, SLOW), other, POINTS[:3])
    keep(store, Host(setup, SLOW), a_record(setup, "short", days=1), POINTS[:2])
    told: list[str] = []
    assert begun(setup, store, told) is None
    for name, why in (("llama", "another family"), ("short", "has 2 launches to learn from, and 3 are the least")):
        with pytest.raises(UsageError, match=why):
            begun(replace(setup, warm_start=name), store)
    store.create_or_get_study(a_record(setup, "now"))
    with pytest.raises(UsageError, match="is this study itself"):
        begun(replace(setup, warm_start="now"), store)


def test_a_study_that_is_not_predicted_is_told_nothing_and_cannot_name_one(store: Store) -> None:
    setup = a_study()
    keep(store, Host(setup, SLOW), a_record(setup, "before"), POINTS[:3])
    many = replace(setup, workload=replace(setup.workload, users=2000))
    told: list[str] = []
    assert begun(many, store, told) is None
    assert begun(replace(setup, calibration=None), store, told) is None
    assert told == []
    with pytest.raises(UsageError, match="2,000 users are more than"):
        begun(replace(many, warm_start="before"), store)
    with pytest.raises(UsageError, match="nothing to begin with"):
        begun(replace(setup, calibration=None, warm_start="before"), store)


def test_a_first_study_is_told_nothing(store: Store) -> None:
    told: list[str] = []
    assert begun(a_study(), store, told) is None
    assert told == []


def test_a_faster_host_takes_over_what_differs_from_its_ruler(store: Store) -> None:
    setup = a_study()
    slow = replace(REFERENCE, python_s=2 * REFERENCE.python_s, text_s=2 * REFERENCE.text_s)
    keep(store, Host(setup, SLOW), a_record(setup, "before", host_speed=slow))
    here = replace(setup, fingerprint=replace(setup.fingerprint, host_speed=REFERENCE))
    taught = begun(here, store)
    assert taught is not None
    assert taught.calibration.rates.host == pytest.approx(0.9, rel=0.25)
    elsewhere = replace(setup, fingerprint=replace(setup.fingerprint, host="another"))
    taught = begun(elsewhere, store)
    assert taught is not None
    assert taught.calibration.rates.host == 1.0


@pytest.mark.parametrize(("before", "now"), [(True, False), (False, True)])
def test_how_engines_share_a_gpu_is_this_hosts(store: Store, before: bool, now: bool) -> None:
    setup = a_study()
    setup = replace(setup, calibration=Calibration(rates=rates_on(None, mps=now)))
    keep(store, Host(a_study(), SLOW), a_record(setup, "before", mps=before))
    taught = begun(setup, store)
    assert taught is not None
    assert taught.calibration.rates.shared == rates_on(None, mps=now).shared


@pytest.mark.parametrize(
    ("resolved", "params", "point"),
    [
        ({"distributed_executor_backend": "uni"}, {}, "none"),
        ({}, {}, "none"),
        ({"distributed_executor_backend": "mp"}, {}, "mp"),
        ({"distributed_executor_backend": "mp"}, {"distributed_executor_backend": "none"}, "none"),
    ],
)
def test_what_was_vllms_own_choice_then_is_so_now(resolved: Params, params: Params, point: str) -> None:
    setup = a_study()
    setup = replace(setup, space=load_space("h200").with_groups(["batch", "engines"]))
    then = replace(
        Host(a_study(), SLOW).trial(1, {"max_num_seqs": 8}), resolved={**resolved, "max_num_seqs": 8}, params=params
    )
    assert _point(setup, then) == {"max_num_seqs": 8, "distributed_executor_backend": point}


def test_a_workload_is_kept_as_it_was() -> None:
    for preset in PRESETS.values():
        kept = replace(preset, burstiness=float("inf"), seed=7, system_prompt="a secret")
        told = stored_workload(workload_json(kept))
        assert told == replace(kept, system_prompt=None, response_prefix=None, stop=())
        assert same_load(told, preset) is (preset.burstiness == float("inf"))
        assert "secret" not in str(workload_json(kept))
    assert stored_workload({"name": "of another tuner"}) is None
    assert stored_workload(None) is None
