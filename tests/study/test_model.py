"""What a study's model of its server says before each launch, and learns from those before, where the truth is known: on a host
that is the model with other rates, and noise. Nothing is launched; tests/sim/test_predicted_study.py launches."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import process_time

import pytest
from modelled_host import Host, measured, nobody, off, setup_of
from samples import trial as a_trial

from tuner.predict.advise.case import Case
from tuner.predict.advise.region import draw
from tuner.predict.prediction import Calibration
from tuner.predict.step import Rates
from tuner.predict.uncertainty import Known
from tuner.study import learning
from tuner.study.model import ServerModel
from tuner.study.options import Options
from tuner.study.setup import Setup, choose_space
from tuner.types import Failed, FailureKind, LoadMetrics, Mark, Measured, Params, Trial

SLOW = Calibration(rates=replace(Rates(), host=1.8, launch=1.8, front=1.8))
#: On an H200 a small model is limited by its host.
HOST_BOUND: tuple[Params, ...] = (
    {},
    {"max_num_seqs": 16},
    {"enforce_eager": True},
    {"max_num_seqs": 32, "stream_interval": 4},
    {"stream_interval": 8},
)
#: What the points of the coverage are drawn of.
HEEDED = ("max_num_seqs", "max_num_batched_tokens", "stream_interval", "api_server_count", "enforce_eager")


def test_a_slower_host_is_predicted_better_after_three_trials_than_before() -> None:
    host = Host(setup_of(), SLOW)
    model, trials = host.study(HOST_BOUND)
    before = ServerModel(host.setup, nobody)  # that learns nothing
    for one in trials[3:]:
        unlearned = replace(one, predicted=before.predict(one.params, ()))
        assert off(one) < off(unlearned) / 3
        assert off(one) < 0.15 < off(unlearned)
    assert model.calibration.rates.host == pytest.approx(1.8, rel=0.2)
    known = [(one.predicted.known, one.predicted.launches) for one in trials if one.predicted]
    card, here = Known.CARD.value, Known.HOST.value
    assert known == [(card, 0), (card, 1), (card, 2), (here, 3), (here, 4)]


def test_a_switch_that_was_never_launched_is_known_as_well_as_the_card() -> None:
    host = Host(setup_of(), SLOW)
    points: list[Params] = [{"max_num_seqs": seqs, "enforce_eager": False} for seqs in (1024, 16, 32)]
    model, trials = host.study(points)
    for eager, known in ((True, Known.CARD), (False, Known.HOST)):
        found = model.predict({"max_num_seqs": 64, "enforce_eager": eager}, trials)
        assert found is not None
        assert (found.known, found.launches) == (known.value, 3)


def test_a_study_that_goes_on_has_learned_from_what_is_stored() -> None:
    host = Host(setup_of(), SLOW)
    _, trials = host.study(HOST_BOUND[:3])
    again = ServerModel(host.setup, nobody).predict(HOST_BOUND[3], trials)
    assert again is not None
    assert (again.known, again.launches) == (Known.HOST.value, 3)
    truth = host.measure(HOST_BOUND[3])
    assert isinstance(truth, LoadMetrics)
    assert again.metrics["output_throughput"].value == pytest.approx(truth.output_throughput, rel=0.15)


def test_the_host_s_own_rates_are_what_it_begins_with() -> None:
    setup = replace(setup_of(), calibration=SLOW)
    _, trials = Host(setup, SLOW).study(HOST_BOUND[:1])
    assert off(trials[0]) < 0.1


@pytest.mark.parametrize("gpu", ["h200", "t4"])
def test_95_of_100_measurements_lie_in_their_intervals(gpu: str) -> None:
    """Of studies over points of the whole space, on hosts of several speeds."""
    setup = setup_of(gpu)
    inside, told = 0, 0
    for seed, speed in enumerate((0.7, 1.8)):
        rates = replace(Rates(), host=speed, launch=speed, front=speed, kernels=speed**-0.2)
        heeded = setup.space.without({*setup.space.parameters} - {*HEEDED})
        _, trials = Host(setup, Calibration(rates=rates), seed, 0.03).study([{}, *draw(heeded, seed, 5)])
        for trial in trials:
            if trial.predicted is None or not isinstance(trial.outcome, Measured):
                continue
            numbers = trial.outcome.metrics()
            for name, found in trial.predicted.metrics.items():
                if name in numbers:
                    told, inside = told + 1, inside + (found.low <= numbers[name] <= found.high)
    assert told > 30
    assert inside / told >= 0.90


def test_what_would_not_start_is_told_with_its_reason() -> None:
    setup = setup_of("t4", engine_arg=("gpu_memory_utilization=0.2",))
    found = ServerModel(setup, nobody).predict({}, ())
    assert found is not None
    assert found.failed is not None
    assert found.failed.kind in (FailureKind.OUT_OF_MEMORY, FailureKind.KV_CACHE_TOO_SMALL)
    assert found.metrics == {}


def test_settings_that_would_not_start_are_predicted_to_lose_all() -> None:
    """That is not the same as nothing being known of them."""
    model = ServerModel(setup_of("t4"), nobody)
    usual: Params = {"gpu_memory_utilization": 0.9, "max_num_seqs": 64}
    assert model.gain(usual, {**usual, "gpu_memory_utilization": 0.1}) == -1.0
    assert model.gain(usual, {**usual, "max_num_seqs": 128}) not in (None, -1.0)
    assert model.gain({**usual, "gpu_memory_utilization": 0.1}, usual) is None


def test_the_objective_and_what_has_an_slo_are_predicted() -> None:
    setup = setup_of("t4", objective=("e2e_p90",), slo=("ttft_p99=2s", "tpot_p95=80ms"))
    found = ServerModel(setup, nobody).predict({}, ())
    assert found is not None
    assert {"e2el_p90_s", "ttft_p99_s", "tpot_p95_s", "kv_cache_tokens", "output_throughput"} <= found.metrics.keys()


def test_an_slo_of_itl_takes_no_other_prediction_away() -> None:
    setup = replace(setup_of("t4"), slos=setup_of("t4", slo=("tpot_p99=80ms",)).slos)
    itl = replace(setup.slos[0], name="itl_p99", metric="itl_p99_s")
    assert ServerModel(replace(setup, slos=(itl,)), nobody).predict({}, ()) is not None


def test_the_highest_rate_is_predicted_and_learned_from() -> None:
    setup = setup_of("t4", slo=("ttft_p99=1s",))
    looking = replace(setup.workload, users=None, request_rate=4.0, find_rate=True)
    setup = replace(setup, workload=looking)
    model = ServerModel(setup, nobody)
    first = model.predict({}, ())
    assert first is not None
    load = Host(replace(setup, workload=replace(looking, find_rate=False)), Calibration()).measure({})
    assert isinstance(load, LoadMetrics)
    ended = a_trial(0, measured(replace(load, request_rate=4.0)), params={}, is_default=True)
    again = model.predict({"max_num_seqs": 32}, [replace(ended, predicted=first)])
    assert again is not None
    assert again.launches == 1


def broken(folder: Path, text: str) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(text)
    return str(folder)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda setup, folder: with_model(setup, broken(folder, "{,}")), "this is not JSON"),
        (lambda setup, folder: with_model(setup, broken(folder, "[]")), "config.json"),
        (lambda setup, folder: with_model(setup, broken(folder, '{"architectures": ["T5Model"]}')), "config.json"),
        (lambda setup, folder: with_model(setup, str(folder / "none")), "none"),
        (lambda setup, folder: with_model(setup, "nobody/knows"), "tuner does not know its shape"),
        (lambda setup, folder: replace(setup, space=choose_space(Options(gpu="cpu"), ())), "the CPU engine"),
        (lambda setup, folder: replace(setup, workload=replace(setup.workload, users=100_000)), "100,000 users"),
    ],
)
def test_what_cannot_be_predicted_is_told_once_and_stops_nothing(change: object, why: str, tmp_path: Path) -> None:
    setup = change(setup_of("t4"), tmp_path / "model")  # type: ignore[operator]
    told: list[str] = []
    model = ServerModel(setup, told.append)
    ended = a_trial(0, measured(Host(setup_of("t4"), Calibration()).study([{}])[1][0].outcome.load))  # type: ignore[union-attr]
    assert [model.predict({}, ()), model.predict({"max_num_seqs": 8}, [ended])] == [None, None]
    assert len(told) == 1
    assert why in told[0]


def with_model(setup: Setup, model: str) -> Setup:
    return replace(setup, launcher=replace(setup.launcher, model=model))


def test_a_setting_that_no_formula_heeds_has_no_prediction_and_teaches_nothing() -> None:
    told: list[str] = []
    points: list[Params] = [{"linear_backend": "cutlass"}, {"linear_backend": "marlin"}, {}]
    _, trials = Host(setup_of(), SLOW).study(points, told)
    assert [trial.predicted is None for trial in trials] == [False, True, False]
    assert told == ["no prediction: linear_backend: what it changes is not predicted"]
    assert trials[2].predicted is not None
    assert trials[2].predicted.launches == 1


@pytest.mark.parametrize("mark", [Mark.CLIENT_BOUND, Mark.GPU_SHARED, Mark.THROTTLED])
def test_what_a_measurement_says_of_others_is_not_learned(mark: Mark) -> None:
    host = Host(setup_of(), SLOW)
    _, trials = host.study(HOST_BOUND[:3])
    marked = [
        replace(one, outcome=replace(one.outcome, marks=(mark,))) for one in trials if isinstance(one.outcome, Measured)
    ]
    model = ServerModel(host.setup, nobody)
    found = model.predict(HOST_BOUND[3], marked)
    assert found is not None
    assert (found.known, found.launches, model.calibration.rates) == (Known.CARD.value, 0, Rates())


def test_failures_and_faults_of_the_model_stop_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    host = Host(setup_of(), SLOW)
    model = ServerModel(host.setup, told.append)
    failed = a_trial(0, Failed(kind=FailureKind.OUT_OF_MEMORY, message="no"), params={}, is_default=True)
    assert model.predict({"max_num_seqs": 8}, [failed]) is not None

    def divides(*_: object, **__: object) -> None:
        raise ZeroDivisionError("float division by zero")

    monkeypatch.setattr("tuner.predict.advise.case.predict", divides)
    assert model.predict({"max_num_seqs": 8}, [failed]) is None
    assert told == ["no prediction: ZeroDivisionError: float division by zero"]


def test_a_study_that_is_not_to_be_predicted_is_not() -> None:
    assert ServerModel(replace(setup_of(), calibration=None), nobody).predict({}, ()) is None


def test_what_a_study_learns_takes_less_and_less_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each trial is another than was foretold; still, of 300 only some are learned from anew, of the first ten each."""
    host, learned = Host(setup_of(), SLOW), list[int]()
    model = ServerModel(host.setup, nobody)

    def counted(case: Case, trials: Sequence[Trial], start: Calibration, before: Calibration) -> Calibration:
        learned.append(len(trials))
        return before

    monkeypatch.setattr(learning, "_calibrated", counted)
    first = host.trial(0, {})
    for count in range(1, 301):
        model.learn([replace(first, number=number, is_default=not number, predicted=None) for number in range(count)])
    assert learned[:10] == list(range(1, 11))
    assert len(learned) < 45
    assert learned[-1] > 300 / 1.2


@pytest.mark.parametrize(("gpu", "users"), [("h200", 64), ("t4", 256), ("h200", 1000)])
def test_learning_is_bounded_however_long_the_study(gpu: str, users: int) -> None:
    """Two seconds of a core are aimed at; a machine under load may take some times as long."""
    setup = setup_of(gpu, users=users)
    host = Host(setup, SLOW)
    _, few = host.study([{}])
    long = [replace(few[0], number=number, is_default=not number, predicted=None) for number in range(40)]
    began_s = process_time()
    assert ServerModel(setup, nobody).predict({"max_num_seqs": 24}, long) is not None
    assert process_time() - began_s < 20
