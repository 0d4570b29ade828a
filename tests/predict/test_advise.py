"""What `tuner plan` answers, asked of the real model of a server: bounds that hold, limits that are the limits, refusals."""

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from predict.asking import CHAT, LLAMA_8B, LLAMA_70B, SMALL, case, users
from tuner.decide.gain import LEAST_GAIN
from tuner.errors import RunError, UsageError
from tuner.predict.advise import search
from tuner.predict.advise.advice import Advice, Answer, advise, price
from tuner.predict.advise.assumed import assumptions
from tuner.predict.advise.case import Case
from tuner.predict.advise.limits import Bottleneck
from tuner.predict.advise.plan_json import plan_json
from tuner.predict.advise.region import draw, region, thrifty, values
from tuner.predict.error import ModelError
from tuner.predict.memory import Memory
from tuner.predict.prediction import Prediction
from tuner.predict.shape import Shape
from tuner.space.files import load_space, shipped_spaces
from tuner.space.parameters import Categorical, Float, Int
from tuner.space.search_space import ALL, SearchSpace
from tuner.types import DataFile, Failed, FailureKind, Lengths, present
from tuner.workload.presets import PRESETS

GPUS = [name for name in shipped_spaces() if name != "cpu"]


@pytest.fixture(autouse=True)
def _few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_MOST", 24)


def others() -> list[SearchSpace]:
    return [load_space(name) for name in shipped_spaces()]


def text(asked: Case, advice: Advice) -> str:
    return plan_json(advice, asked, model="m", workload="w", price_per_gpu_hour=1.0)


def test_the_same_question_has_the_same_answer() -> None:
    asked = case()
    assert text(asked, advise(asked)) == text(asked, advise(asked))


@pytest.mark.parametrize("gpu", GPUS)
def test_what_is_proposed_starts_keeps_the_rules_and_is_no_worse_than_the_defaults(gpu: str) -> None:
    asked = case(gpu)
    found = advise(asked)
    assert found.defaults.prediction is not None
    assert found.gain is None if found.best is None else found.gain is not None and found.gain >= 0
    changed = {change.name: change.value for change in found.changes}
    graphs = (
        {"enforce_eager": False} if "enforce_eager" in asked.space.parameters else {}
    )  # on which their sizes depend
    assert not asked.space.violations({**graphs, **changed})
    if found.best is not None:
        assert found.best.failed is None
        assert asked.settings(found.best.params) == found.best.prediction.settings if found.best.prediction else False
    for change in found.changes:
        assert change.without or (change.gain is not None and change.gain >= LEAST_GAIN - 1e-9), change


def test_a_gain_within_the_model_s_error_is_no_reason_to_change_anything() -> None:
    asked = case()
    sure, unsure = advise(asked, error=ModelError(gain=0.02)), advise(asked, error=ModelError(gain=0.9))
    assert sure.gain is not None
    assert 0.02 < sure.gain < 0.9
    assert (sure.answer, unsure.answer) == (Answer.BEST, Answer.DEFAULTS)
    assert advise(asked, error=ModelError(output_throughput=0.9)).answer is Answer.DEFAULTS
    assert advise(asked, error=ModelError(output_throughput=0.9, gain=0.02, ttft=2.0)).answer is Answer.BEST
    assert unsure.best == sure.best


def test_settings_that_miss_an_slo_are_not_proposed() -> None:
    free = advise(case(objective="throughput", workload=users(128)))
    assert free.best is not None
    assert free.best.prediction is not None
    tpot_ms = present(present(free.best.prediction.load.tpot_s).p99) * 800 if free.best.prediction.load.tpot_s else 0
    asked = case(workload=users(128), slos=[f"tpot_p99={tpot_ms:.2f}ms"])
    bound = advise(asked)
    assert bound.answer is Answer.BEST
    assert bound.best is not None
    assert all(by <= 0 for by in bound.best.violations.values())
    assert bound.best.params != free.best.params


def test_where_nothing_meets_the_slos_the_nearest_settings_are_shown() -> None:
    asked = case(slos=["ttft_p99=1us"])
    found = advise(asked)
    assert found.answer is Answer.NOTHING
    nearest = found.best or found.defaults
    assert nearest.violations["ttft_p99"] <= found.defaults.violations["ttft_p99"]


def test_latency_objectives_are_minimized() -> None:
    found = advise(case(objective="ttft_p99", workload=PRESETS["long-prompt"]))
    assert found.best is not None
    assert found.best.prediction is not None
    assert found.defaults.prediction is not None
    assert present(present(found.best.prediction.load.ttft_s).p99) < present(
        present(found.defaults.prediction.load.ttft_s).p99
    )


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("shape", [SMALL, LLAMA_8B], ids=["1.5B", "8B"])
def test_the_ends_of_what_starts_are_the_ends(gpu: str, shape: Shape) -> None:
    asked = case(gpu, shape)
    base = asked.default_params()
    for span in region(asked, base, []).spans:
        parameter = asked.space.parameters[span.name]
        starts = {value: asked.why_not({**base, span.name: value}) is None for value in span.starts}
        assert all(starts.values())
        if isinstance(parameter, Categorical):
            assert all(asked.why_not({**base, span.name: v}) for v in parameter.choices if v not in span.starts)
        elif isinstance(parameter, Int) and span.starts:
            (low, high), step = (int(value) for value in span.starts), parameter.step or 1
            assert low == parameter.low or asked.why_not({**base, span.name: low - step})
            assert high == parameter.high or asked.why_not({**base, span.name: high + step})
        assert (span.failed is None) == (tuple(span.starts) == tuple(span.searched))


def test_a_bound_inside_the_range_is_found() -> None:
    """The longest model length beside steps of 4096 tokens leaves no memory for longer steps."""
    memory = case("t4", LLAMA_8B, quantization="fp8_per_tensor").memory({"max_num_batched_tokens": 4096})
    assert isinstance(memory, Memory)
    asked = case("t4", LLAMA_8B, quantization="fp8_per_tensor", max_model_len=memory.largest_length)
    spans = {span.name: span for span in region(asked, asked.default_params(), []).spans}
    tokens = spans["max_num_batched_tokens"]
    assert tokens.failed is not None
    assert tokens.failed.kind is FailureKind.KV_CACHE_TOO_SMALL
    assert tokens.may_start[0] == 512  # nothing so near the border is sure
    assert int(tokens.may_start[1]) >= 4096
    assert tokens.starts == () or int(tokens.starts[1]) <= 4096


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("shape", [LLAMA_8B, LLAMA_70B], ids=["8B", "70B"])
def test_where_the_thriftiest_do_not_start_nothing_does(gpu: str, shape: Shape) -> None:
    asked = case(gpu, shape)
    if any(asked.why_not(point) is None for point in thrifty(asked.space)):
        return
    assert all(asked.why_not(point) for point in draw(asked.space, 0, 100))


def test_points_are_drawn_from_the_whole_space_and_keep_its_rules() -> None:
    space = case().space
    points = draw(space, 0, 400)
    assert points == draw(space, 0, 400)
    assert points != draw(space, 1, 400)
    assert not any(space.violations(point) for point in points)
    for name, parameter in space.parameters.items():
        drawn = [point[name] for point in points if name in point]
        if isinstance(parameter, Categorical):
            assert set(drawn) == set(parameter.choices)
        else:
            middle = (parameter.low * parameter.high) ** 0.5 if parameter.log else (parameter.low + parameter.high) / 2
            below = sum(float(value) <= middle for value in drawn) / len(drawn)
            assert 0.25 < below < 0.85, name  # few values: a half of them may be one


def test_values_are_on_the_parameter_s_grid() -> None:
    stepped = Float(type="float", low=0.85, high=0.95, step=0.01)
    assert values(stepped, 11) == [0.85, 0.86, 0.87, 0.88, 0.89, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95]
    doubling = Int(type="int", low=1, high=32, log=True)
    assert values(doubling, 6) == [1, 2, 4, 8, 16, 32]
    assert all(one < other for one, other in pairwise(map(float, values(doubling, 40))))


def test_an_open_loop_that_is_served_is_limited_by_itself_and_nothing_is_changed() -> None:
    asked = case("h200", workload=replace(PRESETS["open-chat"], request_rate=1.0))
    served = asked.predict({}, 50)
    assert isinstance(served, Prediction)
    assert asked.value(served) == 1.0 * 128  # the mean answer, whatever the window had
    assert served.load.output_throughput != 128
    found = advise(asked)
    assert found.defaults.limit.bottleneck is Bottleneck.LOAD
    assert found.answer is Answer.DEFAULTS
    assert found.best is None


def test_weights_that_do_not_fit_are_the_limit_of_defaults_that_do_not_start() -> None:
    asked = case("t4", LLAMA_8B)
    found = advise(asked)
    assert found.defaults.prediction is None
    assert found.defaults.limit.bottleneck is Bottleneck.WEIGHTS
    assert "15.0 GiB of weights" in found.defaults.limit.evidence
    assert found.answer is Answer.BEST
    assert {change.name: change.value for change in found.changes}["quantization"] == "fp8_per_tensor"
    assert found.gain is None


def test_what_would_make_a_model_start_makes_it_start() -> None:
    asked = case("t4", LLAMA_70B)
    with pytest.raises(RunError, match="no settings of the search space t4 start on Tesla T4: 13") as error:
        advise(asked, others())
    size, gpu = re.search(r"tensor_parallel_size=(\d+)\), or --gpu (\S+)$", str(error.value)).groups()  # type: ignore[union-attr]
    for better in (case("t4", LLAMA_70B, tensor_parallel_size=int(size)), case(gpu, LLAMA_70B)):
        assert any(better.why_not(point) is None for point in thrifty(better.space))
    with pytest.raises(RunError, match="nor would it on any card"):
        advise(case("t4", replace(LLAMA_70B, layers=4000)), others())


def test_a_shorter_length_is_named_where_it_is_enough() -> None:
    asked = case("a10g", replace(LLAMA_8B, max_positions=4_000_000), quantization="none")
    with pytest.raises(RunError, match="--max-model-len") as error:
        advise(asked, ())
    length = int(str(error.value).split("--max-model-len ")[1].split(",")[0])
    shorter = case("a10g", replace(LLAMA_8B, max_positions=4_000_000), quantization="none", max_model_len=length)
    assert advise(shorter).answer is Answer.BEST or advise(shorter).defaults.prediction is not None


def test_of_a_cache_that_is_told_the_whole_length_is_named() -> None:
    """Its margin is taken off when it is told, and not once more."""
    asked = case("t4", replace(SMALL, max_positions=4_000_000), engines_per_gpu=2, gpu_memory_utilization=0.85)
    with pytest.raises(RunError, match="--max-model-len") as error:
        advise(asked, ())
    length = int(str(error.value).split("--max-model-len ")[1].split(",")[0])
    space = asked.space.with_fixed({"max_model_len": length})
    fits = [replace(asked, space=space).memory(point) for point in thrifty(space)]
    assert length == max(one.largest_length for one in fits if isinstance(one, Memory)) // 256 * 256


def test_a_quantized_checkpoint_is_predicted_as_it_is() -> None:
    quantized = replace(LLAMA_8B, checkpoint_quantization="awq")
    asked = replace(
        case("t4", LLAMA_8B),
        space=load_space("t4").with_groups([ALL]).with_quantized_models({"awq": "folder"}),
        quantized={"awq": quantized},
    )
    plain, awq = ({**asked.default_params(), "quantization": choice} for choice in ("none", "awq"))
    assert asked.shape_for(awq) is quantized
    memory, found = asked.memory(awq), asked.predict(awq)
    assert isinstance(memory, Memory)
    assert memory.weights_bytes < 0.5 * 2 * LLAMA_8B.parameters
    assert isinstance(found, Prediction)
    assert isinstance(asked.why_not(plain), Failed)
    named_otherwise = replace(
        LLAMA_8B, checkpoint_quantization="compressed-tensors"
    )  # vLLM reads it from the checkpoint
    assert isinstance(replace(asked, quantized={"awq": named_otherwise}).memory(awq), Memory)


def test_the_highest_rate_meets_the_slos_and_a_higher_one_does_not() -> None:
    looking = replace(PRESETS["open-chat"], find_rate=True, request_rate=2.0)
    asked = case("t4", workload=looking, slos=["ttft_p99=300ms", "tpot_p99=40ms"])
    found = asked.predict({}, 200)
    assert isinstance(found, Prediction)
    rate = found.load.request_rate
    assert rate is not None
    assert rate > 2.0
    assert not asked.missed(found)
    above = replace(asked, workload=replace(looking, find_rate=False, request_rate=rate * 1.3)).predict({}, 200)
    assert isinstance(above, Prediction)
    assert asked.missed(above) or present(above.load.request_throughput) < 0.9 * rate * 1.3


def test_the_arrivals_of_a_trace_are_those_that_are_simulated() -> None:
    trace = DataFile(path=Path("t.jsonl"), digest="d")
    workload = replace(PRESETS["open-chat"], request_rate=None, trace=trace)
    asked = replace(case("h200", workload=workload), arrivals=tuple(0.5 * number for number in range(400)))
    found = asked.predict({})
    assert isinstance(found, Prediction)
    assert found.load.request_throughput == pytest.approx(2.0, rel=0.05)
    with pytest.raises(UsageError, match="has 3 requests"):
        replace(asked, arrivals=(0.0, 1.0, 2.0)).check()


def test_the_price_of_a_million_tokens() -> None:
    asked = case("t4", tensor_parallel_size=2)
    found = asked.predict({})
    assert isinstance(found, Prediction)
    told = price(found, 1.8)  # of two GPUs: 0.001 a second
    assert told is not None
    assert told.per_million_output_tokens == pytest.approx(1000 / present(found.load.output_throughput))
    assert told.per_million_tokens == pytest.approx(1000 / present(found.load.total_token_throughput))


def test_the_json_is_whole_and_finite() -> None:
    asked = case(objective="goodput", slos=["ttft_p99=1us"])  # a goodput of 0
    written = json.loads(text(asked, advise(asked)))
    assert written["answer"] in list(Answer)
    assert written["defaults"]["metrics"]["goodput"] == 0
    assert written["defaults"]["memory"]["kv_cache_tokens"] > 0
    assert written["defaults"]["price"]["per_million_output_tokens"] > 0


def test_everything_that_is_taken_for_granted_is_said() -> None:
    said = "\n".join(
        assumptions(case("t4", tensor_parallel_size=2), {"quantization": "fp8_per_tensor", "max_num_seqs": 8})
    )
    assert "compute capability 7.5" in said
    assert "a guess for 16 lanes of PCIe: nothing was measured of it" in said
    assert "over PCIe they are slower" in "\n".join(assumptions(case("h200", tensor_parallel_size=2), {}))
    assert "quantization=fp8_per_tensor changes the model's answers" in said
    assert "max_num_seqs" not in said
    assert "measured on L40S" in "\n".join(assumptions(case("l4"), {}))
    own = "\n".join(assumptions(case("h200"), {}))
    assert "kernels" not in own  # measured on that very card
    strange = replace(SMALL, assumed=("its layers are counted like Llama's",))
    assert "its layers are counted like Llama's" in assumptions(case("h200", strange), {})
    unknown = case().space.model_copy(
        update={"parameters": {"attention_backend": Categorical(type="categorical", choices=("A",))}}
    )
    assert "attention_backend is searched, but what it changes is not predicted" in assumptions(
        replace(case(), space=unknown), {}
    )


def without(space: SearchSpace, **gpu: None) -> SearchSpace:
    return space.model_copy(update={"gpu": space.gpu.model_copy(update=gpu)})


ONE_TOKEN = replace(CHAT, output_tokens=Lengths(low=1, high=1))
FROM_FILE = replace(CHAT, dataset=DataFile(path=Path("talk.jsonl"), digest="d"))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (lambda: replace(case(), space=load_space("cpu")), "the CPU engine is not modelled"),
        (lambda: replace(case(), space=without(case().space, bandwidth_gb_per_s=None)), "lacks gpu.bandwidth_gb_per_s"),
        (lambda: case(workload=FROM_FILE), "prompts from talk.jsonl"),
        (lambda: case(workload=ONE_TOKEN, objective="tpot_p99"), "answers of one token"),
        (lambda: case(slos=["itl_p99=9ms"]), "ITL is not predicted"),
        (lambda: case(max_model_len=500), "has requests of 672 tokens and max_model_len is 500"),
        (lambda: case(max_model_len=10**6), "vLLM refuses this whatever else is set: User-specified max_model_len"),
        (lambda: case(cpu_offload_gb=2), "cpu_offload_gb: tuner cannot tell"),
    ],
)
def test_what_cannot_be_predicted_is_refused(asked: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        advise(asked())
