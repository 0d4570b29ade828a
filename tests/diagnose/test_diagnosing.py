"""What a diagnosis is, whatever is known: its findings, its remedies, and that nothing is said from what is not known."""

from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.diagnose.card import card_thresholds
from tuner.diagnose.causes import Cause
from tuner.diagnose.diagnosing import diagnose, next_value, remedies_of
from tuner.diagnose.diagnosis import Remedy
from tuner.diagnose.evidence import Evidence
from tuner.diagnose.table import Advice, the_table
from tuner.diagnose.words import remedy_text, sentences, verdict_line
from tuner.space.files import load_space
from tuner.types import Params

NAMES = [entry.name for entry in fields(Evidence)]
NUMBERS = st.none() | st.sampled_from([0.0, 0.5, 1.0, 2.0, 300.0]) | st.floats(0, 1e6)
EVIDENCE = st.fixed_dictionaries(dict.fromkeys(NAMES, NUMBERS)).map(lambda numbers: Evidence(**numbers))
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "max_num_seqs": st.integers(1, 4096),
        "gpu_memory_utilization": st.floats(0.1, 0.99),
        "quantization": st.sampled_from(["none", "fp8", "fp8_per_tensor", "awq"]),
        "enforce_eager": st.booleans(),
        "compilation_config.cudagraph_mode": st.sampled_from(["FULL", "FULL_AND_PIECEWISE"]),
    },
)
BATCH = Evidence(users=256, running_mean=64, waiting_mean=190, max_num_seqs=64, kv_cache_usage_max=0.1, sm_activity=0.4)


@settings(max_examples=150, deadline=None)
@given(EVIDENCE, SETTINGS)
def test_it_never_fails_and_is_never_empty(seen: Evidence, params: Params) -> None:
    found = diagnose(seen, params)
    assert found.findings
    strengths = [one.strength for one in found.findings]
    assert all(0.0 <= strength <= 1.0 for strength in strengths)
    assert strengths == sorted(strengths, reverse=True)
    assert len({one.cause for one in found.findings}) == len(found.findings)
    assert (found.first.cause is Cause.INSUFFICIENT) == (found.first.strength == 0.0)
    assert all(one.evidence and one.words for one in found.findings)
    for finding in found.findings:
        assert len({remedy.name for remedy in finding.remedies}) == len(finding.remedies)
        assert all(remedy.value is None or params.get(remedy.name) != remedy.value for remedy in finding.remedies)
    assert all(sentence.strip() for sentence in sentences(found))
    assert verdict_line(found)


@settings(max_examples=100, deadline=None)
@given(EVIDENCE, st.sets(st.sampled_from(NAMES)))
def test_what_is_not_known_never_adds_a_finding(seen: Evidence, unknown: set[str]) -> None:
    """A rule needs its numbers: without some of them there are the same findings or fewer. Only what stands for another number,
    where that is not known, may speak instead: the GPU's utilization for its SM activity."""
    without = replace(
        seen, **dict.fromkeys(unknown - {"sm_activity", "client_cores", "engine_core_cores", "worker_cores_max"})
    )
    causes = {one.cause for one in diagnose(seen, {}).findings}
    assert {one.cause for one in diagnose(without, {}).findings} - {Cause.INSUFFICIENT} <= causes


def test_without_numbers_it_says_which_are_missing() -> None:
    (only,) = diagnose(Evidence(), {}).findings
    assert only.cause is Cause.INSUFFICIENT
    assert "not known: the GPU's activity (NVML)" in only.evidence
    assert len(only.evidence) == 5
    assert not only.remedies


def test_a_finding_has_its_numbers_its_rivals_and_its_remedies_with_what_is_predicted() -> None:
    asked: list[Params] = []

    def predict(params: Params) -> float | None:
        asked.append(params)
        return 0.5

    first = diagnose(BATCH, {"max_num_seqs": 64}, predict=predict).first
    assert first.cause is Cause.BATCH_LIMIT
    assert first.evidence[0] == "64 requests ran, of at most 64 (max_num_seqs)"
    assert "the KV cache had room: 10% of it was taken" in first.evidence
    assert Cause.KV_CACHE in [rival.cause for rival in first.rivals]
    (remedy,) = first.remedies
    assert (remedy.name, remedy.direction, remedy.value, remedy.gain) == ("max_num_seqs", "raise", 256, 0.5)
    assert asked[0] == {"max_num_seqs": 256}
    assert remedy_text(remedy) == "raise max_num_seqs to 256 (those that wait run, too; predicted: +50%)"
    assert remedy_text(Remedy(name="attention_backend", direction="set")) == "try another attention_backend"


RULES = {rule.name: rule for rule in the_table().rules}


@pytest.mark.parametrize("name", [name for name in RULES if name.partition(",")[0] in {*RULES} - {name}])
def test_a_rule_of_a_place_has_the_remedies_of_its_kind(name: str) -> None:
    """Such as "drafts are refused, no GPU" those of "drafts are refused"."""
    rule, kind = RULES[name], RULES[name.partition(",")[0]]
    assert remedies_of(rule.cause, {}, rules=[rule])[:1] == remedies_of(rule.cause, {}, rules=[kind])[:1]
    if "draft" in rule.name:
        (first, *_) = remedies_of(rule.cause, {}, rules=[rule])
        assert (first.name, first.value) == ("speculative_config.method", "none")


def test_remedies_that_are_predicted_to_lose_come_last() -> None:
    seen = Evidence(users=64, running_mean=60, waiting_mean=20, kv_cache_usage_max=0.99, max_num_seqs=512)
    loses = diagnose(
        seen, {"kv_cache_dtype": "auto"}, predict=lambda params: -0.1 if params.get("kv_cache_dtype") == "fp8" else 0.1
    )
    assert loses.first.cause is Cause.KV_CACHE
    assert loses.first.remedies[-1].name == "kv_cache_dtype"
    assert diagnose(seen, {"kv_cache_dtype": "auto"}).first.remedies[0].name == "kv_cache_dtype"


def test_a_setting_goes_as_far_as_the_table_says() -> None:
    seats = Advice(name="max_num_seqs", direction="raise", value=2048, why="")
    assert [next_value(seats, value) for value in (64, 1024, 2048, 4096, True, "many", None)] == [
        256,
        2048,
        *[None] * 5,
    ]
    tokens = Advice(name="max_num_batched_tokens", direction="lower", value=2048, why="")
    assert [next_value(tokens, value) for value in (8192, 3000, 2048, 512)] == [4096, 2048, None, None]
    graphs = Advice(name="max_cudagraph_capture_size", direction="raise", value=2048, why="", at_once=True)
    assert [next_value(graphs, value) for value in (8, 512, 2048, 4096)] == [2048, 2048, None, None]
    memory = Advice(name="gpu_memory_utilization", direction="raise", value=0.95, why="")
    assert [next_value(memory, value) for value in (0.5, 0.95)] == [0.95, None]
    fp8 = Advice(name="quantization", direction="set", value="fp8", why="", begins=True)
    assert [next_value(fp8, value) for value in ("none", "fp8_per_tensor", None)] == ["fp8", None, "fp8"]
    full = Advice(name="compilation_config.cudagraph_mode", direction="set", value="FULL", why="")
    assert [next_value(full, value) for value in ("FULL_AND_PIECEWISE", "FULL")] == ["FULL", None]


def test_what_is_few_depends_on_the_card() -> None:
    few = {name: card_thresholds(load_space(name).gpu).get("FEW") for name in ("h100-80gb", "a100-80gb", "cpu")}
    assert few["h100-80gb"] is not None
    assert few["a100-80gb"] is not None
    assert 8 < few["h100-80gb"] < 10
    assert 4 < few["a100-80gb"] < 5
    assert few["cpu"] is None
    seen = Evidence(users=7, running_mean=7, waiting_mean=0)
    assert diagnose(seen, {}).first.cause is Cause.BATCH_TOO_SMALL
    assert diagnose(seen, {}, card={"FEW": few["a100-80gb"]}).first.cause is Cause.INSUFFICIENT
