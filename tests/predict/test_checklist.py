"""The deployment checklist: each line in each of its states, of facts that a test makes up."""

import functools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from predict.asking import LLAMA_8B, LLAMA_70B, SMALL, case, users
from tuner.predict.advise.checklist import Facts, Level, Line, ModelFiles, SeenServer, StudyFound
from tuner.predict.advise.checklist_server import LINES, checklist
from tuner.predict.shape import Shape
from tuner.types import SharedPrefix
from tuner.workload.presets import PRESETS

NOW = datetime(2026, 11, 29, tzinfo=UTC)
CHAT = users(8)
FILES = ModelFiles(end_ids=(2,), source="generation_config.json", has_template=True)
SEEN = SeenServer(
    model="m",
    is_here=True,
    is_secure=False,
    is_vllm=True,
    sent=4,
    running_max=4.0,
    max_model_len=4096,
    kv_cache_tokens=100_000,
    prefix_caching=True,
    hits=0.25,
    has_process=True,
    max_num_seqs=16,
    is_eager=False,
    address="127.0.0.1",
    needs_key=False,
    streaming=(Level.OK, "one answer came in 9 chunks", ""),
    stopping=(Level.OK, "an answer ended by itself", ""),
)
VERIFIED = StudyFound(name="s", ended_at=NOW - timedelta(days=3), is_finished=True, answer="better", launches=6)


#: A search space takes a while to read.
_case = functools.cache(case)


def facts(shape: Shape = LLAMA_8B, gpu: str = "a100-80gb", **changes: Any) -> Facts:
    workload = changes.get("workload", CHAT)
    made = Facts(
        workload=workload,
        case=_case(gpu, shape, workload),
        is_predicted=True,
        why_not="",
        files=FILES,
        seen=None,
        studies=[],
        database="tuner.db",
        now=NOW,
    )
    return replace(made, **changes)


def line(name: str, **changes: Any) -> Line:
    found = LINES[name](facts(**changes))
    assert found.name == name
    return found


def seen(**changes: Any) -> dict[str, Any]:
    return {"seen": replace(SEEN, **changes)}


def test_the_lines_are_always_the_same_in_the_same_order() -> None:
    names = [one.name for one in checklist(facts(case=None, is_predicted=False, why_not="no shape"))]
    assert names == [one.name for one in checklist(facts(case=None, is_predicted=False, why_not="no shape", **seen()))]
    assert names == list(LINES)


def test_a_good_server_has_no_line_that_is_wrong_or_a_warning() -> None:
    found = checklist(facts(gpu="h100-80gb", studies=[VERIFIED], **seen()))
    assert {one.name for one in found if one.level is not Level.OK} <= {"quantized weights"}


def test_without_a_server_its_lines_are_not_known_and_say_why() -> None:
    for name in ("streaming", "address and key"):
        found = line(name)
        assert (found.level, found.evidence) == (Level.UNKNOWN, "no --url")
    every = checklist(facts(case=None, is_predicted=False, why_not="tuner does not know its shape", files=None))
    unknown = {one.name for one in every if one.level is Level.UNKNOWN}
    assert {"continuous batching", "quantized weights", "max_model_len", "KV cache", "CUDA graphs"} <= unknown
    assert all("tuner does not know its shape" in one.evidence for one in every if one.name == "quantized weights")


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        (seen(max_num_seqs=1), Level.WRONG, "max_num_seqs is 1"),
        (seen(running_max=1.0), Level.WARNING, "no more than 1 of 4 requests"),
        (seen(running_max=None), Level.UNKNOWN, "no vLLM /metrics"),
        (seen(max_num_seqs=4), Level.WARNING, "of 8 users 4 run at once"),
        (seen(max_num_seqs=1, engines=4), Level.WARNING, "of 8 users 4 run at once"),
        (seen(max_num_seqs=None, has_process=False), Level.OK, "4 of 4 requests that were sent at once ran together"),
        ({}, Level.OK, "up to 256 requests at once (predicted"),
    ],
)
def test_batching(changes: dict[str, Any], level: Level, said: str) -> None:
    found = line("continuous batching", **changes)
    assert found.level is level
    assert said in found.evidence


def test_fewer_bits_are_advised_where_they_are_predicted_to_help() -> None:
    helps = line("quantized weights", gpu="l4")  # decoding 8 billion parameters waits for 300 GB/s
    assert helps.level is Level.WARNING
    assert "predicted with vLLM's defaults" in helps.evidence
    assert ", in throughput: fp8_per_tensor +" in helps.evidence
    assert "with its max_num_seqs 16" in line("quantized weights", shape=SMALL, **seen()).evidence
    assert "changes answers" in helps.remedy
    small = line("quantized weights", shape=SMALL, gpu="h100-80gb", workload=users(256))
    assert small.level is Level.OK
    assert "not needed" in small.evidence
    quantized = replace(LLAMA_8B, checkpoint_quantization="awq")
    assert line("quantized weights", shape=quantized).evidence == "the checkpoint is quantized: awq"
    too_big = line("quantized weights", shape=LLAMA_70B, gpu="a100-80gb")
    assert too_big.level is Level.WRONG
    assert "as it is stored it does not start" in too_big.evidence
    assert "a checkpoint of 4 bits" in too_big.remedy


def test_max_model_len() -> None:
    short = line("max_model_len", **seen(max_model_len=256))
    assert short.level is Level.WRONG
    assert "less than the 672 tokens of the longest request" in short.evidence
    assert "costs nothing until somebody asks" in line("max_model_len", **seen(max_model_len=16384)).evidence
    assert "costs nothing" not in line("max_model_len", **seen(max_model_len=1024)).evidence
    beyond = line("max_model_len", **seen(max_model_len=65536))
    assert beyond.level is Level.WARNING
    assert "32,768 positions" in beyond.evidence
    refused = line("max_model_len", gpu="l4", shape=replace(LLAMA_8B, max_positions=131072))
    assert refused.level is Level.WRONG
    assert "refuses to start" in refused.evidence
    assert refused.remedy.startswith("--max-model-len ")


def test_the_kv_cache() -> None:
    fits = line("KV cache", **seen())
    assert fits.level is Level.OK
    assert "100,000 tokens (of /metrics), 8 requests of" in fits.evidence
    full = line("KV cache", **seen(kv_cache_tokens=1_000))
    assert full.level is Level.WARNING
    assert "the others wait or are preempted" in full.evidence
    assert line("KV cache", **seen(kv_cache_tokens=None)).level is Level.UNKNOWN
    assert "(predicted)" in line("KV cache").evidence
    assert line("KV cache", shape=LLAMA_70B).level is Level.WRONG


def test_stop_conditions() -> None:
    assert line("stop conditions").level is Level.OK
    assert "not tried" in line("stop conditions").evidence
    assert line("stop conditions", files=replace(FILES, end_ids=())).level is Level.WARNING
    assert "no chat template" in line("stop conditions", files=replace(FILES, has_template=False)).evidence
    assert line("stop conditions", files=None).level is Level.UNKNOWN
    tried = line("stop conditions", **seen(stopping=(Level.WRONG, "the text has the mark </s> in it", "mend it")))
    assert (tried.level, tried.remedy) == (Level.WRONG, "mend it")
    assert "eos_token_id 2 (generation_config.json)" in tried.evidence


def test_load_tested() -> None:
    assert line("load-tested").level is Level.WARNING
    assert line("load-tested", studies=None, database="it cannot be read").level is Level.UNKNOWN
    verified = line("load-tested", studies=[VERIFIED])
    assert verified.level is Level.OK
    assert verified.evidence == "study s, 3 days old: better, verified by 6 launches"
    other = replace(VERIFIED, launches=0, answer="not verified", is_finished=False, name="t")
    assert line("load-tested", studies=[other, VERIFIED]).evidence.startswith("study s")
    unfinished = line("load-tested", studies=[other])
    assert unfinished.level is Level.WARNING
    assert "not finished" in unfinished.evidence


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        ({}, Level.OK, "listens on 127.0.0.1, for this machine alone"),
        ({"address": "0.0.0.0"}, Level.WARNING, "listens on 0.0.0.0, and it asks for no key"),
        ({"address": "0.0.0.0", "needs_key": True}, Level.OK, "it asks for a key"),
        ({"address": None}, Level.UNKNOWN, "its process is not to be seen here"),
        ({"is_here": False, "address": None}, Level.WARNING, "asks for no key"),
        ({"is_here": False, "address": None, "needs_key": True}, Level.WARNING, "plain text"),
        ({"is_here": False, "address": None, "needs_key": True, "is_secure": True}, Level.OK, "asks for a key"),
        ({"is_here": False, "address": None, "needs_key": None}, Level.UNKNOWN, "is not known"),
    ],
)
def test_who_can_reach_it(changes: dict[str, Any], level: Level, said: str) -> None:
    found = line("address and key", **seen(**changes))
    assert found.level is level
    assert said in f"{found.evidence} {found.remedy}"


def test_graphs_and_prefix_caching() -> None:
    assert line("CUDA graphs", **seen(is_eager=True)).level is Level.WARNING
    assert line("CUDA graphs", **seen(is_eager=None, has_process=False)).level is Level.UNKNOWN
    assert line("CUDA graphs", is_cpu=True).evidence == "the CPU engine has none"
    assert "on, 25% of the prompt tokens" in line("prefix caching", **seen()).evidence
    assert line("prefix caching", **seen(prefix_caching=None)).level is Level.UNKNOWN
    assert line("prefix caching", **seen(prefix_caching=False)).level is Level.OK
    shared = replace(PRESETS["chat"], shared_prefix=SharedPrefix(tokens=32, count=1))
    assert line("prefix caching", workload=shared, **seen(prefix_caching=False)).level is Level.WARNING
