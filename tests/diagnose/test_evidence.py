"""A measurement, its settings and its load in; the numbers that rules read out."""

from dataclasses import fields, replace

import pytest
from samples import gpu_metrics, measured, trial

from tuner.diagnose.causes import Cause
from tuner.diagnose.evidence import Evidence, evidence_of
from tuner.diagnose.trials import diagnosis_of, settings_of
from tuner.types import (
    POWER_CAP,
    Cores,
    Failed,
    FailureKind,
    Lengths,
    LoadMetrics,
    Mark,
    Measured,
    Params,
    SharedPrefix,
    Workload,
    present,
)

USERS = Workload(
    name="chat", api="chat", users=16, input_tokens=Lengths(low=100, high=300), output_tokens=Lengths(low=10, high=30)
)
SETTINGS: Params = {
    "max_num_seqs": 32,
    "max_num_batched_tokens": 8192,
    "max_cudagraph_capture_size": 64,
    "enforce_eager": False,
    "compilation_config.cudagraph_mode": "FULL",
    "speculative_config.method": "none",
    "api_server_count": 2,
}


def test_of_nothing_nothing_is_known() -> None:
    nothing = Measured(load=LoadMetrics(), server=None, gpu=None, server_cpu_cores=None, startup_s=None)
    seen = evidence_of(nothing, {})
    assert all(getattr(seen, entry.name) is None for entry in fields(Evidence))


def test_the_numbers_are_those_of_the_measurement() -> None:
    server = replace(measured().server, steps=500.0, step_tokens_mean=96.0, itl_mean_s=0.004)  # type: ignore[type-var]
    cores = Cores(engine_core=0.9, api_server_max=0.5, api_servers=2, host_cores=8, host_busy=0.5)
    whole = replace(measured(), server=server, gpu=gpu_metrics(1.0), cores=cores, server_cpu_cores=1.9)
    seen = evidence_of(whole, SETTINGS, USERS)
    assert (seen.users, seen.running_mean, seen.max_num_seqs, seen.full_graphs, seen.eager) == (16, 8, 32, 1, 0)
    assert (seen.speculating, seen.client_marked, seen.on_processor, seen.processes) == (0, 0, 0, 3)
    assert seen.inside_share == 0.5
    assert seen.batch_fill == 0.25
    assert seen.graph_fill == 1.5
    assert seen.steps_per_s == 50.0
    assert seen.outside_share == pytest.approx(0.6)
    assert seen.process_cores == pytest.approx(1.9 / 3)
    assert seen.neighbour_share == pytest.approx(0.5 - (1.9 + 0.2) / 8)
    assert seen.utilization_alone == 0.9
    assert evidence_of(replace(whole, marks=(Mark.CLIENT_BOUND,)), SETTINGS, USERS).client_marked == 1.0


def test_what_rules_compare_is_made_of_what_is_known() -> None:
    seen = Evidence(running_mean=50.0, step_tokens_mean=200.0, sm_clock_hz=6e8, sm_clock_max_hz=2e9)
    assert seen.step_prompt_share == 0.75
    assert seen.clock_share == pytest.approx(0.3)
    assert replace(seen, speculating=1.0).step_prompt_share is None, "drafts are tokens of a step, too"
    assert replace(seen, speculating=1.0, draft_tokens=2.0).step_prompt_share == 0.25
    assert Evidence(users=10.0, requests_per_s=2.0, e2el_mean_s=1.5).underway_share == pytest.approx(0.3)
    assert replace(seen, sm_clock_max_hz=None).clock_share is None


@pytest.mark.parametrize(("reasons", "capped"), [((), 0.0), (("hw slowdown",), 0.0), ((POWER_CAP,), 1.0)])
def test_a_power_limit_is_told_from_other_reasons(reasons: tuple[str, ...], capped: float) -> None:
    told = replace(gpu_metrics(1.0), throttled=0.0, throttle_reasons=reasons)
    assert evidence_of(replace(measured(), gpu=told), SETTINGS).power_capped == capped
    silent = replace(told, throttled=None)
    assert evidence_of(replace(measured(), gpu=silent), SETTINGS).power_capped is None


def test_engines_that_share_a_gpu_are_processes_with_sequences_each() -> None:
    seen = evidence_of(measured(), {**SETTINGS, "engines_per_gpu": 3, "data_parallel_size": 2}, USERS)
    assert (seen.max_num_seqs, seen.processes) == (6 * 32, 2 + 6)
    alone = evidence_of(measured(), {**SETTINGS, "data_parallel_size": 4, "data_parallel_external_lb": True}, USERS)
    assert alone.max_num_seqs == 32


def test_a_step_has_the_tokens_that_go_through_while_a_sequence_gets_one_unless_vllm_tells() -> None:
    assert evidence_of(measured(output_throughput=1000.0), SETTINGS).step_tokens_mean == pytest.approx(2000 * 0.01)
    drafting: Params = {**SETTINGS, "speculative_config.method": "ngram"}
    assert evidence_of(measured(), drafting).step_tokens_mean is None, "a sequence gets several tokens in a step"


def test_who_drafts_is_known_by_settings_that_are_all_or_by_drafts() -> None:
    some: Params = {"max_num_seqs": 32}
    assert evidence_of(measured(), some).speculating == 0.0
    assert evidence_of(measured(), some, are_all=False).speculating is None, "its command line was not read"
    assert evidence_of(measured(), {**some, "speculative_config.method": "none"}, are_all=False).speculating == 0.0
    text: Params = {"speculative_config": '{"method": "ngram", "num_speculative_tokens": 5}'}
    found = evidence_of(measured(), text, are_all=False)
    assert (found.speculating, found.draft_tokens) == (1.0, 5.0)
    drafts = replace(measured(), server=replace(present(measured().server), acceptance_rate=0.05))
    assert evidence_of(drafts, {}, are_all=False).speculating == 1.0


def test_users_who_pause_and_an_open_loop_are_not_as_many_requests() -> None:
    assert evidence_of(measured(), {}, replace(USERS, think_time_s=1.0)).users is None
    assert evidence_of(measured(), {}, replace(USERS, users=None, request_rate=3.0)).users is None


def test_what_prompts_share_is_a_prefix_s_or_that_of_earlier_turns() -> None:
    prefix = replace(USERS, shared_prefix=SharedPrefix(tokens=150, count=1))
    assert evidence_of(measured(), {}, prefix).shared_prompt_share == 0.75
    assert evidence_of(measured(), {}, replace(USERS, turns=Lengths(low=3, high=3))).shared_prompt_share == 0.5
    assert evidence_of(measured(), {}, USERS).shared_prompt_share == 0.0
    assert evidence_of(measured(), {}).shared_prompt_share is None


def test_a_server_of_this_machine_without_a_gpu_computes_on_the_processor() -> None:
    seen = measured()
    assert evidence_of(seen, {}).on_processor is None, "its processes were not seen: it may be anywhere"
    assert evidence_of(replace(seen, cores=Cores(api_server_max=1.0)), {}).on_processor == 1.0
    assert evidence_of(replace(seen, gpu=gpu_metrics(1.0)), {}).on_processor == 0.0


def test_a_trial_is_diagnosed_by_what_its_server_ran_with() -> None:
    one = replace(trial(3, measured(), params={"max_num_seqs": 8}), effective={"max_num_seqs": 4})
    assert settings_of(one)["max_num_seqs"] == 4
    found = diagnosis_of(one, replace(USERS, users=2))
    assert found is not None
    assert found.first.cause is Cause.BATCH_TOO_SMALL
    failed = trial(1, Failed(kind=FailureKind.OUT_OF_MEMORY, message="", log_tail=""))
    assert diagnosis_of(failed, USERS) is None
