"""`tuner plan` as a user runs it: every card, refusals, JSON, and the commands of the documents."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
from conftest import REPOSITORY
from typer.testing import CliRunner, Result

from tuner.cli import plan as plan_module
from tuner.cli.commands import plan
from tuner.errors import RunError, TunerError, UsageError
from tuner.predict.advise import search
from tuner.predict.advise.limits import Bottleneck
from tuner.predict.error import ERROR
from tuner.predict.uncertainty import SPREAD, Known
from tuner.space.files import shipped_spaces

APP = typer.Typer()
APP.command()(plan)
DOCS = (REPOSITORY / "docs" / "prediction.md").read_text()
README = (REPOSITORY / "README.md").read_text()
COMMANDS = re.findall(r"^\$ (.+)$", DOCS, re.MULTILINE)
GPUS = [name for name in shipped_spaces() if name != "cpu"]
QWEN_7B = {
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}
LLAMA_8B = QWEN_7B | {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
LLAMA_70B = LLAMA_8B | {
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
}


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few points, nothing of this machine's settings, and no process."""
    for most, number in {"_MOST": 12, "_KEPT": 2, "_STARTS": 1, "_VALUES": 3}.items():
        monkeypatch.setattr(search, most, number)
    monkeypatch.setattr(subprocess, "Popen", None)
    for name in [name for name in os.environ if name.startswith("TUNER_")]:
        monkeypatch.delenv(name)


def model(folder: Path, config: dict[str, Any]) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(APP, list(arguments))


def refused(done: Result, kind: type[TunerError], *parts: str) -> None:
    """The error that the command line prints as one sentence, and nothing on stdout."""
    assert isinstance(done.exception, kind), done.output
    assert done.stdout == ""
    assert "\n" not in str(done.exception)
    for part in parts:
        assert part in str(done.exception)


@pytest.mark.parametrize("gpu", GPUS)
def test_every_card_with_the_default_model(gpu: str) -> None:
    done = run("--gpu", gpu, "--price", "1")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("PREDICTED, nothing was launched: deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B on ")
    for row in ("max_num_batched_tokens", "Weights", "Output throughput", "TTFT p99", "Price of 1M output tokens"):
        assert re.search(rf"^{row}", done.stdout, re.MULTILINE), row
    assert re.search(
        r"^defaults: [\d,]+ tokens of KV cache: [\d,]+ requests of this workload at once", done.stdout, re.MULTILINE
    )
    assert re.search(rf"^defaults: limited by ({'|'.join(Bottleneck)}): ", done.stdout, re.MULTILINE)
    assert re.search(r"^(Keep vLLM's defaults|Begin with \w+=)", done.stdout, re.MULTILINE)
    assert "Taken for granted:" in done.stdout


@pytest.mark.long
@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("config", [QWEN_7B, LLAMA_8B], ids=["7B", "8B"])
def test_every_card_with_models_that_may_not_start_by_default(gpu: str, config: dict[str, Any], tmp_path: Path) -> None:
    done = run("--gpu", gpu, "--model", model(tmp_path / "m", config), "--users", "8", "--json", "-")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["best"] or found["defaults"]["failure"] is None
    assert (found["defaults"]["failure"] is None) == (found["defaults"]["metrics"] is not None)


def test_a_model_that_is_too_big_says_what_fits(tmp_path: Path) -> None:
    done = run("--gpu", "t4", "--model", model(tmp_path / "m", LLAMA_70B), "--json", str(tmp_path / "plan.json"))
    refused(done, RunError, "no settings of the search space t4 start on Tesla T4", "GiB of weights", "--gpu ")
    assert not (tmp_path / "plan.json").exists()


def test_a_model_of_which_only_the_defaults_do_not_start(tmp_path: Path) -> None:
    done = run("--gpu", "t4", "--model", model(tmp_path / "m", QWEN_7B))
    assert done.exit_code == 0
    assert "defaults: would not start (" in done.stdout
    assert "defaults: limited by weights: 14." in done.stdout
    assert "vLLM's defaults are predicted not to start" in done.stdout
    assert re.search(r"^quantization +none, fp8_per_tensor +fp8_per_tensor +out of memory$", done.stdout, re.MULTILINE)


def test_json_on_stdout_leaves_the_tables_to_stderr(tmp_path: Path) -> None:
    arguments = ("--gpu", "t4", "--slo", "ttft_p99=2s", "--price", "0.35")
    done, again = (run(*arguments, "--json", "-") for _ in range(2))
    assert done.exit_code == 0, done.output
    assert done.stdout == again.stdout
    assert "PREDICTED" in done.stderr
    run(*arguments, "--json", str(tmp_path / "plan.json"))
    assert (tmp_path / "plan.json").read_text() == done.stdout
    found = json.loads(done.stdout)
    assert found["slos"] == {"ttft_p99": {"metric": "ttft_p99_s", "limit_s": 2.0}}
    rate = found["defaults"]["metrics"]["output_throughput"]
    assert found["defaults"]["price"]["per_million_output_tokens"] == pytest.approx(0.35 / 3600 / rate * 1e6)


def test_slos_that_nothing_meets_end_with_1() -> None:
    done = run("--gpu", "t4", "--slo", "ttft_p99=1us")
    assert done.exit_code == 1
    assert re.search(r"^SLO ttft_p99 of at most 0.001 ms: defaults [\d.,]+ ms, missed", done.stdout, re.MULTILINE)
    assert "Nothing is predicted to meet every SLO" in done.stdout


def test_a_space_and_arguments_of_one_s_own(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text((REPOSITORY / "search_spaces" / "l4.yaml").read_text())
    done = run("--space", str(tmp_path / "mine.yaml"), "--engine-arg", "max_num_seqs=16", "--json", "-")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["fixed"]["max_num_seqs"] == 16
    assert "max_num_seqs" not in found["region"]["parameters"]
    assert found["defaults"]["settings"]["max_num_seqs"] == 16
    assert found["defaults"]["limit"]["bottleneck"] != "batch limit"  # nothing searched moves it


def test_a_quantized_checkpoint_is_considered(tmp_path: Path) -> None:
    plain = model(tmp_path / "plain", LLAMA_8B)
    awq = model(tmp_path / "awq", LLAMA_8B | {"quantization_config": {"quant_method": "awq"}})
    done = run("--gpu", "t4", "--model", plain, "--quantized-model", f"awq={awq}", "--json", "-")
    found = json.loads(done.stdout)
    assert "awq" in found["region"]["parameters"]["quantization"]["starts"]
    assert any(sentence.startswith("the checkpoint for awq: ") for sentence in found["assumed"])


def test_a_trace_is_read(tmp_path: Path) -> None:
    rows = "".join(f'{{"timestamp": {n * 250}, "input_length": 100, "output_length": 20}}\n' for n in range(200))
    (tmp_path / "t.jsonl").write_text(rows)
    (tmp_path / "w.yaml").write_text(f"api: chat\ntrace: {{path: {tmp_path}/t.jsonl, unit: ms}}\n")
    done = run("--gpu", "t4", "--workload", str(tmp_path / "w.yaml"))
    assert done.exit_code == 0, done.output
    assert "arrivals of a trace" in done.stdout
    assert re.search(r"^Requests +4\.", done.stdout, re.MULTILINE)
    assert "defaults: limited by load" in done.stdout


BAD = {
    "--gpu t5": "there is no search space 't5'",
    "--gpu cpu": "the CPU engine is not modelled",
    "--gpu t4 --model nobody/knows": "nobody/knows is not a folder, and tuner does not know its shape",
    "--gpu t4 --model ./none": "--model ./none: there is no such folder",
    "--gpu t4 --model broken": "broken/config.json:1: this is not JSON",
    "--gpu t4 --workload chatt": "there is no workload 'chatt'",
    "--gpu t4 --workload talk.yaml": "talk.jsonl",
    "--gpu t4 --users 0": "--users is 0 and must be at least 1",
    "--gpu t4 --users 4 --request-rate 4": "users and request_rate are both given",
    "--gpu t4 --objective speed": "unknown objective 'speed'",
    "--gpu t4 --objective goodput": "--objective goodput counts the requests",
    "--gpu t4 --slo fast": "--slo 'fast'",
    "--gpu t4 --slo itl_p99=5ms": "ITL is not predicted",
    "--gpu t4 --find-rate --slo ttft_p99=1s": "--find-rate needs a rate to begin with",
    "--gpu t4 --workload open-chat --find-rate": "give at least one --slo",
    "--gpu t4 --price 0": "--price is 0 and must be a number above 0",
    "--gpu t4 --price nan": "--price is nan and must be a number above 0",
    "--gpu t4 --max-model-len 0": "--max-model-len is 0 and must be 1 to 10,000,000",
    "--gpu t4 --engine-arg foo_bar=2": "--engine-arg foo_bar: the prediction does not know this argument",
    "--gpu t4 --users 100000": "100,000 users are more than `tuner plan` plays through in a minute: give 5,000",
    "--gpu t4 --max-model-len 600": "has requests of 672 tokens and max_model_len is 600",
    "--gpu t4 --engine-arg kv_cache_dtype=fp8": "kv_cache_dtype fp8 needs compute capability 8.0",
    "--gpu t4 --engine-arg cpu_offload_gb=x": "cpu_offload_gb: tuner cannot tell",
    "--gpu t4 --engine-arg max_num_seqs=many": "vLLM refuses this whatever else is set",
    "--gpu t4 --quantized-model awq": "--quantized-model 'awq'",
    "--gpu t4 --quantized-model awq=nobody/knows": "nobody/knows is not a folder",
    "--gpu t4 --json none/plan.json": "--json none/plan.json cannot be written",
}


@pytest.mark.parametrize("command", BAD)
def test_bad_input(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{,}")
    talk = [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Good morning"}]
    (tmp_path / "talk.jsonl").write_text(json.dumps({"conversations": talk}) + "\n")
    (tmp_path / "talk.yaml").write_text("api: chat\nusers: 4\ndataset: talk.jsonl\noutput_tokens: 20\n")
    refused(run(*command.split()), UsageError, BAD[command])


def test_without_a_gpu_here_one_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "detect", lambda: ())
    refused(run(), UsageError, "choose a GPU (--gpu t4")


def section(title: str) -> str:
    return DOCS.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_document_run_as_written(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model(tmp_path / "mine", QWEN_7B)
    program, name, *arguments = shlex.split(command)
    assert (program, name) == ("tuner", "plan")
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    assert "PREDICTED" in done.stdout
    for file in re.findall(r"--json (\S+)", command):
        assert json.loads((tmp_path / file).read_text())


def test_each_change_says_what_its_prediction_rests_on_and_each_number_how_sure_it_is(tmp_path: Path) -> None:
    done = run("--gpu", "h200", "--users", "256", "--slo", "ttft_p99=9s", "--json", str(tmp_path / "plan.json"))
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "plan.json").read_text())
    assert found["known"] == "measured card"
    assert found["changes"]
    for change in found["changes"]:
        why = f"guessed: {change['not_measured']}" if change["not_measured"] else "measured"
        assert (change["evidence"] == "measured") == (change["not_measured"] is None)
        assert re.search(rf"^  {change['name']}=.+ \({re.escape(why)}\)$", done.stdout, re.MULTILINE)
    for candidate in (found["defaults"], found["best"]):
        for metric in ("output_throughput", "goodput", "ttft_p99_s", "tpot_p50_s", "e2el_p50_s"):
            low, high = candidate["interval"][metric]
            assert low < candidate["metrics"][metric] < high
        assert candidate["interval"].keys() <= {*candidate["metrics"], "kv_cache_tokens"}
    assert re.search(r"^Begin with .+, [\d,]+ tok/s \([\d,]+ to [\d,]+\)\.$", done.stdout, re.MULTILINE)
    assert re.search(r"^TTFT p99 +[\d,.]+ \([\d,.]+ to [\d,.]+\) +[\d,.]+ \(", done.stdout, re.MULTILINE)


def test_on_a_card_that_nobody_measured_every_change_is_guessed() -> None:
    found = json.loads(run("--gpu", "t4", "--json", "-").stdout)
    assert found["known"] == "unmeasured card"
    told = {change["name"]: (change["evidence"], change["not_measured"]) for change in found["changes"]}
    assert told
    assert set(told.values()) == {("guessed", "no measurement of Tesla T4 is in the model")}


def test_the_document_has_the_table_of_the_code() -> None:
    rows = re.findall(
        r"^\| .+? \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", section("How sure it is"), re.M
    )
    assert [[float(cell) for cell in row] for row in rows] == [
        [SPREAD[family][known] for family in ("output_throughput", "ttft", "tpot", "e2el", "kv_cache_tokens")]
        for known in Known
    ]


def test_the_readme_s_commands_are_the_document_s() -> None:
    named = [line for line in re.findall(r"^\$ (.+)$", README, re.MULTILINE) if line.startswith("tuner plan")]
    assert named
    assert set(named) <= set(COMMANDS)


def test_the_limits_and_the_json_fields_are_those_of_the_document() -> None:
    named = re.findall(r"^\| `([^`]+)` \|", section("What it answers"), re.MULTILINE)
    assert named == [bottleneck.value for bottleneck in Bottleneck]
    written = json.loads(run("--gpu", "t4", "--json", "-").stdout)
    fields = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (.+?) \|", section("JSON"), re.MULTILINE))))
    assert fields == written.keys()
    inner = set(
        re.findall(r"`(\w+)`", re.findall(r"^\| `defaults`, `best` \| (.+) \|$", section("JSON"), re.MULTILINE)[0])
    )
    assert inner == written["defaults"].keys()


def test_the_measured_error_is_that_of_the_record() -> None:
    told = section("How far it is off")
    if ERROR.output_throughput is None:
        assert "not measured" in told
    else:
        assert f"{ERROR.output_throughput:.0%}".replace("%", " %") in told
