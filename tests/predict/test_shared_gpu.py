"""Several engines on one GPU: both forms of their settings, what each holds of the card, and how they take turns on it."""

from dataclasses import replace
from math import exp
from pathlib import Path

import pytest

from predict.asking import LLAMA_8B, case, users
from predict.shapes import H200, T4
from tuner.errors import UsageError
from tuner.predict.advise.assumed import assumptions
from tuner.predict.advise.limits import Bottleneck, limit_of
from tuner.predict.advise.search import Search
from tuner.predict.arguments import EXECUTOR
from tuner.predict.copies import Copies, make_server
from tuner.predict.decoder import Experts, Shape
from tuner.predict.host import rates_on
from tuner.predict.likeness import chance_to_start
from tuner.predict.margin import Verdict
from tuner.predict.memory import Memory, MemoryCalibration, Observed, calibrate_memory, predict_memory
from tuner.predict.prediction import Prediction, predict
from tuner.predict.settings import LATEST, Settings, Version, resolve
from tuner.predict.shape import read_shape
from tuner.predict.step import Duration, Rates, Steps
from tuner.space.engines import ENGINES
from tuner.space.files import load_space
from tuner.space.gpus import Gpu
from tuner.space.parameters import Int
from tuner.types import Failed, FailureKind, Lengths, Params, Workload, present

MOE = replace(LLAMA_8B, experts=Experts(count=64, active=4, intermediate=1024, shared_intermediate=0, layers=32))
MODELS = Path(__file__).parents[2] / "benchmarks" / "data" / "models"
QWEN_1B5, QWEN_7B = (read_shape(str(MODELS / name)) for name in ("qwen2-1.5b", "qwen2-7b"))
#: The load of the one measurement, and one of long prompts.
CHAT = replace(users(256), input_tokens=Lengths(low=64, high=448), output_tokens=Lengths(low=32, high=224))
LONG = replace(CHAT, users=64, input_tokens=Lengths(low=3000, high=5000))


def settled(params: Params, shape: Shape = LLAMA_8B, gpu: Gpu = H200, version: Version = LATEST) -> Settings:
    found = resolve({"max_model_len": 8192, **params}, shape, gpu, version)
    assert not isinstance(found, Failed), found.message
    return found


def memory(shape: Shape = LLAMA_8B, gpu: Gpu = H200, **params: int | float) -> Memory:
    return predict_memory(shape, gpu, settled(params, shape, gpu))


def served(shape: Shape, load: Workload, **params: int | float | str) -> Prediction:
    found = predict(shape, H200, {"max_model_len": 8192, **params}, load)
    assert isinstance(found, Prediction), found
    return found


def output(found: Prediction) -> float:
    return present(found.load.output_throughput)


@pytest.mark.parametrize(("engines", "copies"), [(2, 1), (3, 1), (4, 1), (2, 4)])
def test_what_vllm_is_told_of_each_is_what_tuner_tells_of_all(engines: int, copies: int) -> None:
    own = settled({ENGINES: engines, "data_parallel_size": copies, "gpu_memory_utilization": 0.92})
    told: Params = {
        "data_parallel_size": engines * copies,
        "data_parallel_size_local": copies,
        "gpu_memory_utilization": 0.92 / engines,
        "kv_cache_memory_bytes": 2**33,
    }
    assert settled(told) == own
    assert settled(own.params) == own
    assert (own.copies, own.gpus, own.api_server_count) == (engines * copies, copies, engines * copies)


def test_copies_that_are_all_of_one_node_share_nothing() -> None:
    assert settled({"data_parallel_size": 4, "data_parallel_size_local": 4}).engines_per_gpu == 1
    with pytest.raises(UsageError, match="kv_cache_memory_bytes"):
        resolve({"data_parallel_size": 4, "kv_cache_memory_bytes": 2**33}, LLAMA_8B, H200)


@pytest.mark.parametrize(
    ("params", "shape", "version", "why"),
    [
        ({ENGINES: 2}, MOE, LATEST, "2 engines cannot share a GPU: copies of a mixture of experts"),
        ({ENGINES: 2}, LLAMA_8B, (0, 24), "since vLLM 0.25 only, and this is 0.24"),
        ({ENGINES: 0}, LLAMA_8B, LATEST, "Input should be greater than or equal to 1"),
        ({ENGINES: 1.5}, LLAMA_8B, LATEST, "argument --engines-per-gpu: invalid int value: 1.5"),
    ],
)
def test_what_cannot_share_a_gpu_is_refused(params: Params, shape: Shape, version: Version, why: str) -> None:
    found = resolve(params, shape, H200, version)
    assert isinstance(found, Failed)
    assert found.kind is FailureKind.REJECTED
    assert why in found.message


def test_one_engine_is_refused_by_nobody_and_a_cpu_is_shared() -> None:
    assert settled({ENGINES: 1}, MOE, version=(0, 24)) == settled({}, MOE, version=(0, 24))
    assert settled({ENGINES: 2}, gpu=load_space("cpu").gpu).copies == 2


@pytest.mark.parametrize("engines", [2, 3, 4])
def test_each_engine_holds_the_whole_model_in_its_part_of_the_card(engines: int) -> None:
    one, each = memory(), memory(engines_per_gpu=engines)
    assert (each.weights_bytes, each.activations_bytes) == (one.weights_bytes, one.activations_bytes)
    assert each.budget_bytes * engines == pytest.approx(one.budget_bytes, abs=2 * engines)
    lost = (engines - 1) * (one.weights_bytes + one.activations_bytes + one.other_bytes)
    graphs = (engines - 1) * one.graphs_bytes * one.graphs_counted
    spared = engines * each.margin_bytes  # of the cache that each is told
    assert one.kv_cache_bytes - engines * each.kv_cache_bytes == pytest.approx(lost + graphs + spared, abs=2 * engines)
    assert (each.verdict, each.margin_bytes) == (Verdict.STARTS, one.margin_bytes)


def test_what_each_engine_takes_beside_its_budget_must_be_free_as_often() -> None:
    """The context of CUDA is 0.5 GiB of each process on Hopper."""
    found = [memory(engines_per_gpu=engines, gpu_memory_utilization=0.99) for engines in (1, 2, 4)]
    assert [one.failed is None for one in found] == [True, True, False]
    assert found[0].slack_bytes > found[1].slack_bytes > found[2].slack_bytes
    assert found[2].failed is not None
    assert found[2].failed.kind is FailureKind.OUT_OF_MEMORY


def test_engines_that_do_not_fit_together_do_not_start() -> None:
    found = [memory(QWEN_1B5, T4, engines_per_gpu=engines, gpu_memory_utilization=0.85) for engines in (1, 2, 3)]
    assert [one.verdict for one in found] == [Verdict.STARTS, Verdict.STARTS, Verdict.FAILS]
    assert found[1].kv_cache_tokens > 8192


def test_only_what_the_card_has_left_is_uncertain() -> None:
    """The KV cache is told to each engine, so it is as large as predicted; what the engines take beside it may be more."""
    tight = memory(QWEN_1B5, T4, engines_per_gpu=2, gpu_memory_utilization=0.92)
    assert (tight.failed, tight.verdict) == (None, Verdict.MAYBE)
    assert 0.5 < chance_to_start(tight) < 0.975
    short = memory(QWEN_1B5, T4, engines_per_gpu=3, gpu_memory_utilization=0.92)
    assert (short.verdict, short.kv_cache_tokens, chance_to_start(short)) == (Verdict.FAILS, 0, 0.0)


def test_a_cache_whose_size_was_told_teaches_nothing() -> None:
    alone, shared = settled({}), settled({ENGINES: 2})
    assert calibrate_memory(LLAMA_8B, H200, [Observed(settings=alone, kv_cache_tokens=10**5)]).other_bytes > 0
    assert calibrate_memory(LLAMA_8B, H200, [Observed(settings=shared, kv_cache_tokens=10**5)]) == MemoryCalibration()


@pytest.mark.parametrize(
    ("asynchronous", "step", "turns", "expected"),
    [
        (True, Duration(0.002, 0.01), 3, 0.01),
        (True, Duration(0.004, 0.01), 3, 0.012),
        (False, Duration(0.002, 0.01), 3, 0.012),
        (False, Duration(0.008, 0.01), 3, 0.024),
        (False, Duration(0.008, 0.01), 1, 0.018),
    ],
)
def test_a_step_waits_for_its_turns_on_the_gpu_or_for_the_host(
    asynchronous: bool, step: Duration, turns: int, expected: float
) -> None:
    settings = settled({ENGINES: 3, "async_scheduling": asynchronous})
    steps = Steps(shape=LLAMA_8B, gpu=H200, settings=settings, rates=Rates(shared=1.0))
    assert steps.duration_s(step, turns) == pytest.approx(expected)


def test_two_engines_help_a_busy_host_about_as_much_as_was_measured() -> None:
    """On an H200 two servers made 22,873 tok/s, one 13,507: 1.7 times as much, each known to 8 % (docs/sizes.md). Each ran its
    model in its EngineCore."""
    params: dict[str, int | float | str] = {"stream_interval": 16, "max_num_batched_tokens": 2048}
    params[EXECUTOR] = "uni"
    one = served(QWEN_1B5, CHAT, **{**params, "gpu_memory_utilization": 0.22})
    two = served(QWEN_1B5, CHAT, **{**params, "gpu_memory_utilization": 0.44, ENGINES: 2})
    assert output(two) == pytest.approx(22_873, rel=0.08)
    assert 1.3 < output(two) / output(one) < 1.9
    assert one.gpu_busy < two.gpu_busy < 1.0
    assert two.host_busy > 0.9


@pytest.mark.parametrize(
    ("tokens", "sequences", "measured"),
    [(2048, 1024, 28_946), (2048, 128, 30_009), (4096, 256, 29_425), (4096, 256, 29_567)],
)
def test_two_engines_that_keep_a_gpu_busy_make_what_was_measured(tokens: int, sequences: int, measured: float) -> None:
    """On an H200, 100 % of the time busy; the front end's and the host's speed count for nothing then (docs/sizes.md)."""
    graphs = {"compilation_config.cudagraph_mode": "FULL", "max_cudagraph_capture_size": 2048, "api_server_count": 4}
    params = {"max_num_batched_tokens": tokens, "max_num_seqs": sequences, "stream_interval": 16, **graphs}
    two = served(QWEN_1B5, CHAT, **params, engines_per_gpu=2)  # type: ignore[arg-type]
    assert output(two) == pytest.approx(measured, rel=0.05)
    assert two.gpu_busy > 0.98


#: FULL graphs up to 2,048 tokens, as in the launches on H200s whose steps were counted (vLLM 0.25.1, docs/sizes.md).
FULL: Params = {"compilation_config.cudagraph_mode": "FULL", "max_cudagraph_capture_size": 2048}


def steps(params: Params, rates: Rates | None = None) -> Steps:
    settings = settled({"max_num_batched_tokens": 2048, **FULL, **params}, QWEN_1B5)
    return Steps(shape=QWEN_1B5, gpu=H200, settings=settings, rates=rates or Rates())


@pytest.mark.parametrize(
    ("mps", "sequences", "tokens", "measured_s"), [(True, 72, 211, 7.40e-3), (False, 77, 232, 10.24e-3)]
)
def test_three_engines_on_a_gpu_that_is_always_busy_have_the_steps_that_were_counted(
    mps: bool, sequences: int, tokens: int, measured_s: float
) -> None:
    """One launch each, 94 and 63 % of SM activity, 100 % of the time busy. Half of the steps have a prompt in them."""
    three = steps({ENGINES: 3}, rates_on(None, mps=mps))
    context, prompts = 320.0 * sequences, (tokens - sequences) / 260
    with_prompt = 1 - exp(-prompts)
    chunks = [(260, 0)] * max(1, round(prompts / with_prompt))
    alone, beside = (three.duration_s(three.step(sequences, context, prefill), 3) for prefill in ((), chunks))
    assert with_prompt * beside + (1 - with_prompt) * alone == pytest.approx(measured_s, rel=0.06)


def test_kernels_at_once_take_the_gpu_less_than_in_turns() -> None:
    turns, at_once = (steps({ENGINES: 2}, rates_on(None, mps=mps)) for mps in (False, True))
    step = turns.step(128, 40_000, ())
    assert step == at_once.step(128, 40_000, ())
    assert at_once.on_gpu_s(step, 2) == at_once.on_gpu_s(step, 1) == turns.on_gpu_s(step, 1) == step.gpu_s
    assert turns.on_gpu_s(step, 2) == pytest.approx(1.3 * step.gpu_s)


def test_a_process_of_its_own_for_the_model_makes_steps_as_much_shorter_as_was_counted() -> None:
    """8.41 ms in one process and 7.79 in two, 250 sequences and 500 tokens of prompts a step, one launch each."""
    one, two = (steps({EXECUTOR: name}).step(250, 80_000, [(250, 0)] * 2) for name in ("uni", "mp"))
    assert two.host_s / one.host_s == pytest.approx(7.79 / 8.41, rel=0.03)
    assert one.gpu_s == two.gpu_s < two.host_s
    assert steps({ENGINES: 2}).settings.has_worker
    assert not steps({ENGINES: 2, EXECUTOR: "uni"}).settings.has_worker
    assert not steps({}).settings.has_worker


@pytest.mark.parametrize(
    "sizes", [{"tensor_parallel_size": 2}, {"pipeline_parallel_size": 2}, {"data_parallel_size": 2}]
)
def test_a_server_of_several_gpus_has_one_anyway(sizes: Params) -> None:
    """vLLM 0.32, config/parallel.py."""
    assert settled({**sizes, EXECUTOR: "mp"}) == settled(sizes)
    assert settled({EXECUTOR: "uni"}) == settled({})
    assert settled({EXECUTOR: "mp", ENGINES: 2}) == settled({ENGINES: 2})
    assert settled({EXECUTOR: "mp"}) != settled({})


def test_an_executor_that_vllm_does_not_know_is_refused() -> None:
    found = resolve({EXECUTOR: "many"}, QWEN_1B5, H200)
    assert isinstance(found, Failed)
    assert "'many' is not one of ray, mp, uni, external_launcher" in found.message


@pytest.mark.parametrize(("load", "engines"), [(LONG, 2), (LONG, 4), (replace(CHAT, users=512), 2)])
def test_engines_on_a_busy_gpu_bring_nothing(load: Workload, engines: int) -> None:
    one, more = (served(QWEN_7B, load, stream_interval=16, engines_per_gpu=number) for number in (1, engines))
    assert output(more) < output(one)
    assert more.gpu_busy > 0.95


def test_an_engine_without_requests_takes_no_turns() -> None:
    alone, beside = (
        served(QWEN_1B5, users(1), distributed_executor_backend="mp", engines_per_gpu=engines) for engines in (1, 4)
    )
    assert output(beside) == pytest.approx(output(alone), rel=0.02)


def test_copies_share_a_gpu_with_those_of_other_nodes_alone() -> None:
    settings = settled({ENGINES: 2, "data_parallel_size": 2})
    found = make_server(LLAMA_8B, H200, settings, predict_memory(LLAMA_8B, H200, settings))
    assert isinstance(found, Copies)
    for number in range(2):  # to copies 0 and 1, on GPUs 0 and 1
        found.submit(number, 200, 50, 0.0)
    assert [found._working(place) for place in range(4)] == [1, 1, 1, 1]
    found.submit(2, 200, 50, 0.0)
    assert [found._working(place) for place in range(4)] == [2, 1, 2, 1]


def test_a_second_gpu_doubles_what_engines_on_one_make() -> None:
    two = served(LLAMA_8B, CHAT, engines_per_gpu=2)
    four = served(LLAMA_8B, replace(CHAT, users=512), engines_per_gpu=2, data_parallel_size=2)
    assert output(four) == pytest.approx(2 * output(two), rel=0.05)
    assert four.gpu_busy == pytest.approx(two.gpu_busy, rel=0.05)
    assert four.settings.gpus == 2


def test_the_plan_moves_engines_and_api_servers_together() -> None:
    """One API server and one engine are both busy: either alone brings little."""
    asked = case("h200", QWEN_1B5, CHAT, max_model_len=4096)
    kept = ("max_num_batched_tokens", "stream_interval", "api_server_count")
    parameters = {name: asked.space.parameters[name] for name in kept} | {ENGINES: Int(type="int", low=1, high=4)}
    rules = tuple(rule for rule in asked.space.rules if set(rule.names) <= set(parameters))
    asked = replace(
        asked, space=asked.space.model_copy(update={"parameters": parameters, "rules": rules, "enqueue": ()})
    )
    defaults = asked.default_params()
    assert defaults[ENGINES] == 1
    best = Search(asked, defaults, lambda *_: None).best([])
    assert best is not None
    assert best[ENGINES] in (2, 3, 4)
    assert "share a GPU take turns" in "\n".join(assumptions(asked, best))


def test_the_engines_of_a_busy_gpu_are_limited_by_it() -> None:
    asked = case("h200", QWEN_7B, LONG, max_model_len=8192, engines_per_gpu=2)
    found = asked.predict(asked.default_params())
    assert isinstance(found, Prediction)
    limit = limit_of(asked, asked.default_params(), found, asked.predict)
    assert limit.bottleneck is Bottleneck.PREFILL
    assert any("share a GPU" in sentence for sentence in assumptions(asked, {}))
