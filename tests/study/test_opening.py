"""Which group is searched next, for what was measured of the best settings, and what is predicted of them."""

import re
from dataclasses import replace

import pytest
from samples import measured as a_measurement
from samples import trial

from tuner.decide.objective import parse_objective
from tuner.predict.advise.limits import Bottleneck
from tuner.space.files import load_space
from tuner.space.parameters import Categorical
from tuner.space.search_space import SearchSpace
from tuner.study.opening import Opening
from tuner.types import GpuMetrics, Measured, Params, ServerMetrics, Trial

THROUGHPUT = parse_objective("throughput")
GPU = GpuMetrics(gpus=(0,), samples=10, utilization=0.99, memory_used_bytes=1, power_w=500.0)
DEFAULTS: Params = {
    "max_num_seqs": 1024,
    "kv_cache_dtype": "auto",
    "attention_backend": "none",
    "quantization": "none",
    "speculative_config.method": "none",
}


def space(groups: str = "all", gpu: str = "h100-80gb") -> SearchSpace:
    return load_space(gpu).with_groups(groups.split(","))


def measured(server: dict[str, float] | None = None, **gpu: float) -> Measured:
    found = a_measurement()
    assert isinstance(found.server, ServerMetrics)
    return replace(found, server=replace(found.server, **(server or {})), gpu=replace(GPU, **gpu))  # type: ignore[arg-type]


def trials(outcome: Measured, count: int = 6, **params: str | int) -> list[Trial]:
    return [
        trial(number, outcome, params={**DEFAULTS, **(params if number else {})}, is_default=number == 0)
        for number in range(count)
    ]


def groups_of(found: SearchSpace, names: frozenset[str]) -> set[str | None]:
    return {found.parameters[name].group for name in names}


def test_the_groups_that_a_space_opens_are_searched_first() -> None:
    found = space()
    frozen = Opening(found, THROUGHPUT).first()
    assert groups_of(found, frozen) == {"attention", "kernels", "offload", "speculation", "engines"}
    assert groups_of(found, frozenset(found.parameters) - frozen) == {"batch", "memory", "graphs", "front_end"}


def test_where_only_closed_groups_were_chosen_all_are_searched() -> None:
    assert Opening(space("attention,kernels"), THROUGHPUT).first() == frozenset()
    assert Opening(space("batch"), THROUGHPUT).first() == frozenset()


@pytest.mark.parametrize(
    ("outcome", "group", "why"),
    [
        (measured({"preemptions": 12.0, "kv_cache_usage_max": 0.99}), "attention", "KV cache.*99% .*12 preemptions"),
        (
            measured({"preemptions": 12.0, "prefix_cache_queries": 100.0, "prefix_cache_hits": 50.0}),
            "attention",  # first; then offload
            "KV cache",
        ),
        (measured(dram_activity=0.8, sm_activity=0.9), "speculation", "memory was busy for 80%"),
        (measured({"running_mean": 200.0}, dram_activity=0.8, sm_activity=0.9), "attention", "memory was busy"),
        (measured(tensor_activity=0.7, sm_activity=0.9), "attention", "tensor cores were busy for 70%"),
    ],
)
def test_what_limits_the_best_settings_opens_what_moves_it(outcome: Measured, group: str, why: str) -> None:
    opening = Opening(space(), THROUGHPUT)
    opening.first()
    opened = opening.next(trials(outcome), None)
    assert opened is not None
    assert opened.group == group
    assert re.search(why, opened.why)
    assert group not in groups_of(space(), opening.frozen)


def test_offloading_is_opened_only_where_prompts_return() -> None:
    for hits, groups in ((0.0, ["attention"]), (50.0, ["attention", "offload"])):
        outcome = measured({"preemptions": 1.0, "prefix_cache_queries": 100.0, "prefix_cache_hits": hits})
        opening, opened = Opening(space(), THROUGHPUT), []
        opening.first()
        for _ in range(5):
            if found := opening.next(trials(outcome), 0.001):
                opened.append(found.group)
        assert opened == groups


def test_kernels_of_quantized_weights_are_opened_where_the_best_settings_have_such() -> None:
    found = space("batch,memory,kernels")
    opening = Opening(found.without({"moe_backend"}), THROUGHPUT)
    outcome = measured(tensor_activity=0.7, sm_activity=0.9)
    assert opening.next(trials(outcome, quantization="none"), 0.0) is None
    opened = opening.next(trials(outcome, quantization="fp8_per_tensor")[1:], 0.0)
    assert opened is not None
    assert opened.group == "kernels"


def test_an_idle_gpu_opens_graphs_and_a_prediction_speaks_where_no_measurement_does() -> None:
    shut = space("all", "h100-80gb")
    groups = {name: group.model_copy(update={"open": name == "batch"}) for name, group in shut.groups.items()}
    shut = shut.model_copy(update={"groups": groups})
    idle = measured({"running_mean": 64.0, "step_tokens_mean": 200.0}, sm_activity=0.2)
    eager = trials(idle, enforce_eager=True)
    opened = Opening(shut, THROUGHPUT).next(eager[1:], None)
    assert opened is not None
    assert opened.group == "graphs"
    assert opened.attempt is not None
    assert opened.attempt.remedy.name == "enforce_eager"
    assert opened.attempt.params == {**eager[1].params, "enforce_eager": False}, "nothing else differs"
    predicted = Opening(shut, THROUGHPUT, lambda params: (Bottleneck.API_SERVER, "the API servers work"))
    opened = predicted.next(trials(measured(sm_activity=0.9)), None)
    assert opened is not None
    assert opened.group == "front_end"
    assert "predicted: the API servers work" in opened.why
    assert Opening(shut, THROUGHPUT).next(trials(measured(sm_activity=0.9)), 0.0) is None, "nothing is known to limit"


@pytest.mark.parametrize(("gain", "tried"), [(0.2, True), (0.001, False), (-0.1, False), (None, False)])
def test_the_remedy_of_a_predicted_limit_is_tried_where_it_is_predicted_to_gain(
    gain: float | None, tried: bool
) -> None:
    """That nothing is known of it says enough where the limit was measured only."""
    graphs: dict[str, str | int] = {
        "enforce_eager": False,
        "max_cudagraph_capture_size": 2048,
        "compilation_config.cudagraph_mode": "FULL",
    }
    finished = trials(measured(sm_activity=0.9), 6, engines_per_gpu=1, **graphs)[1:]
    opening = Opening(
        space(), THROUGHPUT, lambda params: (Bottleneck.HOST, "EngineCore works"), gain=lambda usual, params: gain
    )
    opened = opening.next(finished, 0.0)
    assert opened is not None
    assert opened.group == "engines"
    assert (opened.attempt is not None) == tried
    if opened.attempt is not None:
        assert opened.attempt.params == {**finished[0].params, "distributed_executor_backend": "mp"}
        assert opened.attempt.remedy.gain == gain


@pytest.mark.parametrize(
    ("engines", "process", "tried"),
    [
        (0.3, 0.1, {"engines_per_gpu": 2}),
        (0.1, 0.3, {"distributed_executor_backend": "mp"}),
        (0.3, -0.1, {"engines_per_gpu": 2}),
        (-0.1, 0.3, {"distributed_executor_backend": "mp"}),
        (-0.1, None, None),
    ],
)
def test_of_the_remedies_of_a_group_that_is_tried_which_is_predicted_to_gain_most(
    engines: float | None, process: float | None, tried: Params | None
) -> None:
    graphs: dict[str, str | int] = {"max_cudagraph_capture_size": 2048, "compilation_config.cudagraph_mode": "FULL"}
    finished = trials(measured(sm_activity=0.9), 6, engines_per_gpu=1, enforce_eager=False, **graphs)[1:]

    def gain(usual: Params, params: Params) -> float | None:
        return engines if params["engines_per_gpu"] == 2 else process

    opened = Opening(space(), THROUGHPUT, lambda _: (Bottleneck.HOST, "EngineCore works"), gain=gain).next(
        finished, 0.0
    )
    assert opened is not None
    assert (opened.attempt.params if opened.attempt else None) == (tried and {**finished[0].params, **tried})


@pytest.mark.parametrize(
    ("choices", "now", "tried"),
    [((1, 2, 4), 1, 4), ((1, 2), 1, 2), ((1, 2), 2, None), ((1, 8), 1, 8), ((1,), 1, None), ((4, 1), 4, None)],
)
def test_of_values_of_the_users_own_the_one_nearest_to_the_remedys_is_tried_if_it_goes_that_way(
    choices: tuple[int, ...], now: int, tried: int | None
) -> None:
    """A remedy wants four API servers."""
    full = space()
    shut = {name: group.model_copy(update={"open": name == "batch"}) for name, group in full.groups.items()}
    servers = Categorical(type="categorical", choices=choices, group="front_end")
    parameters = {**full.parameters, "api_server_count": servers}
    del parameters["stream_interval"]  # the other remedy
    found = full.model_copy(update={"groups": shut, "parameters": parameters})
    opening = Opening(found, THROUGHPUT, lambda params: (Bottleneck.API_SERVER, "the API servers work"), gain=_gains)
    opened = opening.next(trials(measured(sm_activity=0.9), 6, api_server_count=now)[1:], 0.0)
    attempt = opened.attempt if opened else None
    assert (attempt.params["api_server_count"] if attempt else None) == tried


def test_a_study_that_goes_on_has_not_searched_what_stands_for_a_default_outside_the_space() -> None:
    full = space()
    shut = {name: group.model_copy(update={"open": name == "batch"}) for name, group in full.groups.items()}
    sizes = Categorical(type="categorical", choices=(256, 512), group="graphs")
    found = full.model_copy(
        update={"groups": shut, "parameters": {**full.parameters, "max_cudagraph_capture_size": sizes}}
    )
    usual, other = trials(measured(), 2, max_num_seqs=64)
    usual = replace(usual, params={**usual.params, "max_cudagraph_capture_size": 768})
    for size, is_frozen in ((512, True), (256, False)):
        again = replace(other, params={**other.params, "max_cudagraph_capture_size": size})
        frozen = Opening(found, THROUGHPUT).first([usual, again])
        assert ("max_cudagraph_capture_size" in frozen) == is_frozen


def _gains(usual: Params, params: Params) -> float:
    return 0.2


def test_a_clock_that_is_held_down_hides_nothing_that_settings_move() -> None:
    outcome = measured({"preemptions": 12.0, "kv_cache_usage_max": 0.99}, throttled=0.9, sm_activity=0.9)
    opening = Opening(space(), THROUGHPUT)
    opening.first()
    opened = opening.next(trials(outcome), None)
    assert opened is not None
    assert opened.group == "attention"


def test_a_group_is_given_its_launches_unless_what_is_open_promises_nothing() -> None:
    outcome = measured({"preemptions": 1.0, "prefix_cache_queries": 100.0, "prefix_cache_hits": 50.0})
    opening = Opening(space(), THROUGHPUT)
    opening.first()
    assert opening.next(trials(outcome, 3), 0.0) is None, "a design says little of what limits"
    assert opening.next(trials(outcome, 4), 0.5) is not None
    assert opening.next(trials(outcome, 5), 0.5) is None
    assert opening.next(trials(outcome, 5), 0.005) is not None
    assert opening.next(trials(outcome, 20), 0.0) is None, "no other group would help"


def test_a_study_that_goes_on_has_the_groups_open_that_it_searched() -> None:
    found = space()
    searched = trials(measured(), attention_backend="TRITON_ATTN")
    assert groups_of(found, Opening(found, THROUGHPUT).first(searched)) == {
        "kernels",
        "offload",
        "speculation",
        "engines",
    }
    enqueued = trials(measured(), **found.enqueue[2])  # type: ignore[arg-type]
    assert "attention" in groups_of(found, Opening(found, THROUGHPUT).first(enqueued))


def test_without_a_best_trial_nothing_is_opened() -> None:
    assert Opening(space(), THROUGHPUT).next([], 0.0) is None
