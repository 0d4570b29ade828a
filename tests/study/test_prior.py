"""What a study's model of its server expects of points, against the model itself at length; nothing is launched."""

from dataclasses import replace
from time import process_time

import pytest
from modelled_host import nobody, setup_of
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from tuner.decide.objective import parse_objective
from tuner.predict.advise.region import draw
from tuner.predict.memory import MemoryCalibration
from tuner.predict.prediction import Calibration, Prediction
from tuner.predict.step import Rates
from tuner.study.model import ServerModel, case_of
from tuner.study.prior import StudyPrior
from tuner.types import Params, present

SLOW = Calibration(rates=replace(Rates(), host=1.8, launch=1.8, front=1.8))
POINT: Params = {"max_num_seqs": 256, "max_num_batched_tokens": 8192, "stream_interval": 4}


def prior(gpu: str = "h200", calibration: Calibration | None = None, **options: object) -> StudyPrior:
    return StudyPrior(case_of(setup_of(gpu, **options), calibration or Calibration()))


@pytest.mark.parametrize(
    ("gpu", "options"),
    [("h100-80gb", {"users": 256}), ("l4", {"workload": "open-chat", "objective": ("ttft_p99",)})],
)
def test_short_simulations_have_the_order_of_long_ones(gpu: str, options: dict[str, object]) -> None:
    setup = setup_of(gpu, **options)
    case, points = case_of(setup, Calibration()), draw(setup.space, 1, 90)[:24]
    told = StudyPrior(case).expect(points)
    found = {i: case.predict(point, 1500) for i, point in enumerate(points) if told[i].values}
    pairs = [(told[i].values[0], case.value(one)) for i, one in found.items() if isinstance(one, Prediction)]
    assert len(pairs) >= 20
    short, long = zip(*pairs, strict=True)
    if setup.objective.maximize:
        assert spearmanr(short, long).statistic >= 0.97
        assert long[short.index(max(short))] > 0.98 * max(long)
    else:  # most of these are served as well as one another, and the order of queues that grow for ever means nothing
        assert long[short.index(min(short))] < 1.02 * min(long)


@pytest.mark.long
def test_the_first_question_takes_seconds_and_later_ones_a_moment() -> None:
    setup = setup_of("h100-80gb", users=256)
    asked, points = StudyPrior(case_of(setup, Calibration())), draw(setup.space, 0, 400)
    took_s, known = [], []
    for _ in range(3):
        begin_s = process_time()
        told = asked.expect(points)
        took_s.append(process_time() - begin_s)
        known.append(sum(bool(one.values) for one in told))
    assert took_s[0] < 16, "about 6 s where nothing else runs"
    assert max(took_s[1:]) < took_s[0] / 4
    assert 60 < known[0] < known[1] < known[2] < len(points)
    assert all(one.starts > 0.9 and one.compile_key for one in told)
    near = [{**POINT, "stream_interval": interval} for interval in range(1, 5)]
    assert all(one.values for one in asked.expect([*points, *near])[-4:]), "what was never asked for comes first"


def test_what_runs_alike_is_simulated_once() -> None:
    asked = prior(workload="chat")
    same = [
        POINT,
        {**POINT, "gpu_memory_utilization": 0.90},
        {**POINT, "enable_prefix_caching": False},  # no two prompts of chat begin alike
        {**POINT, "moe_backend": "triton"},  # no formula knows it
        {**POINT, "performance_mode": "throughput"},
        {**POINT, "max_num_seqs": 256, "max_cudagraph_capture_size": 512},  # as vLLM has it then
    ]
    told = asked.expect(same)
    assert {one.values for one in told} == {told[0].values}
    assert told[0].values[0] > 0
    assert asked.expect([{**POINT, "stream_interval": 16}])[0].values != told[0].values


def test_a_start_is_as_likely_as_the_memory_is_large_beside_its_margin() -> None:
    chances = {}
    for utilization in (0.5, 0.9, 0.95, 0.99, 1.0):
        chances[utilization] = prior("t4").expect([{**POINT, "gpu_memory_utilization": utilization}])[0].starts
    assert chances[0.9] > 0.97
    assert chances[0.9] > chances[0.99] > chances[1.0]
    assert chances[1.0] < 0.25, "near the border on a card that was not measured"
    assert prior("h100-80gb").expect([{**POINT, "gpu_memory_utilization": 1.0}])[0].starts < 0.02
    refused = {**POINT, "max_num_seqs": 512, "max_num_batched_tokens": 256}
    assert prior("t4").expect([refused])[0].starts == 0.0
    heavy = Calibration(memory=MemoryCalibration(other_bytes=3 * 2**30))
    near: list[Params] = [{**POINT, "gpu_memory_utilization": share / 50} for share in range(10, 45)]
    light, less = ([one.starts for one in asked.expect(near)] for asked in (prior("t4"), prior("t4", heavy)))
    assert sum(light) > sum(less) + 5, "what logs have told counts"


def test_several_objectives_and_slos_have_their_own_numbers() -> None:
    setup = setup_of(slo=["ttft_p99=500ms"])
    objectives = [parse_objective("throughput"), parse_objective("tpot_p99")]
    case = case_of(setup, Calibration())
    told = StudyPrior(case, objectives).expect([POINT])[0]
    found = case.predict(POINT, 2000)
    assert isinstance(found, Prediction)
    assert found.load.tpot_s is not None
    assert told.values[0] == pytest.approx(found.load.output_throughput, rel=0.1)
    assert told.values[1] == pytest.approx(found.load.tpot_s.p99, rel=0.2)
    assert told.slos["ttft_p99"] == pytest.approx(present(present(found.load.ttft_s).p99) / 0.5, rel=0.4)
    lost = prior(objective=("goodput",), slo=["ttft_p99=0.01ms"]).expect([POINT])[0]
    assert 0 < lost.values[0] < told.values[0] / 1000


def test_another_calibration_is_taken_over_for_all_points_once_it_was_taught_and_says_something_else() -> None:
    asked = prior(users=256)
    points: list[Params] = [{**POINT, "stream_interval": interval} for interval in (1, 2, 8)]
    before = [one.values for one in asked.expect(points)]
    asked.learn(SLOW, 3)
    assert [one.values for one in asked.expect(points)] == before
    alike = Calibration(rates=replace(Rates(), host=1.001))
    asked.learn(alike, 4)
    assert [one.values for one in asked.expect(points)] == before
    asked.learn(SLOW, 10)
    after = [one.values for one in asked.expect(points)]
    assert all(now[0] < 0.9 * then[0] for now, then in zip(after, before, strict=True))
    assert after == [one.values for one in prior(calibration=SLOW, users=256).expect(points)]


def test_a_model_that_cannot_predict_has_no_prior_and_says_why_once() -> None:
    setup = setup_of(workload="chat")
    told: list[str] = []
    model = ServerModel(replace(setup, workload=replace(setup.workload, users=2000)), told.append)
    assert model.prior([setup.objective], nobody) is None
    assert model.limit_of(POINT) is None
    model.learn([])
    assert told == ["no prediction: 2,000 users are more than can be played through before each launch"]
    assert ServerModel(setup, nobody).prior([setup.objective], nobody) is not None


def test_what_limits_is_predicted() -> None:
    found = ServerModel(setup_of(users=512), nobody).limit_of({})
    assert found is not None
    assert found[0] in ("EngineCore", "API server")


def test_a_whole_answer_is_of_every_point_and_is_kept() -> None:
    """What no simulation says anything of is not simulated again either."""
    setup = setup_of("l4", users=32)
    points = draw(setup.space, 1, 60)
    whole = StudyPrior(case_of(setup, Calibration()), whole=True)
    told = whole.expect(points)
    assert all(one.values for one in told if one.starts > 0.5)
    began_s = process_time()
    assert whole.expect(points) == told
    assert process_time() - began_s < 0.25
