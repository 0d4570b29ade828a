import json
import shlex
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml
from samples import COMMAND, chosen, failed, measured, trial

from tuner.decide.gain import Gain
from tuner.decide.verdict import AGAIN, Answer, Verdict
from tuner.export.formats import EXPORTERS
from tuner.launch.vllm import VllmLauncher
from tuner.types import Command, Params

TRIAL = trial(3, measured())
BETTER = Verdict(answer=Answer.BETTER, trial=3, launches=3, defaults=3)


def test_the_command_is_the_tuple_that_ran_with_the_users_address() -> None:
    words = shlex.split(EXPORTERS["command"](chosen(TRIAL, BETTER, host="0.0.0.0", port=80)), comments=True)
    assert words == ["OMP_NUM_THREADS=1", *COMMAND.argv, "--host", "0.0.0.0", "--port", "80"]


def test_words_with_spaces_and_quotes_survive_the_shell() -> None:
    odd = Command(argv=("printf", "%s|", "a b", "it's", "$HOME"), environment={"X": "1 2"})
    text = EXPORTERS["command"](chosen(replace(TRIAL, command=odd), host="h", port=1))
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == "a b|it's|$HOME|--host|h|--port|1|"


def test_the_yaml_has_a_key_for_every_flag() -> None:
    settings = yaml.safe_load(EXPORTERS["yaml"](chosen(TRIAL)))
    assert settings == {
        "model": "some/model",
        "host": "127.0.0.1",
        "port": 8000,
        "dtype": "half",
        "max-num-seqs": 64,
        "no-enforce-eager": True,
    }


@pytest.mark.engine
def test_vllm_reads_the_yaml_as_the_same_settings(engine_python: Path, tmp_path: Path) -> None:
    """vLLM's own parser, given the file and given the flags."""
    settings: Params = {
        "max_num_seqs": 64,
        "enable_prefix_caching": False,
        "dtype": "half",
        "revision": "0123",
        "cudagraph_capture_sizes": "[1, 2, 64]",
        "allowed_origins": '["https://one.example"]',
        "compilation_config.cudagraph_mode": "FULL",
        "compilation_config.pass_config.fuse_norm_quant": True,
        "compilation_config.compile_sizes": "[1, 8]",
        "compilation_config.cache_dir": "1k",
        "compilation_config.debug_dump_path": "/tmp/a b",
        "attention_config.flash_attn_max_num_splits_for_cuda_graph": 16,
        "speculative_config.method": "ngram",
        "speculative_config.model": "0123",
        "hf_overrides.rope_theta": 0.5,
        "hf_overrides.a_text": "true",
        "hf_overrides.another": "-1",
    }
    launcher = VllmLauncher(python=engine_python, model="m")
    command, flags = launcher.command(settings), launcher.arguments(settings)
    file = tmp_path / "serve.yaml"
    file.write_text(EXPORTERS["yaml"](chosen(replace(TRIAL, command=command), port=8123)))
    program = (
        "import json, sys\n"
        "from vllm.entrypoints.launchers.cli_args import make_arg_parser\n"
        "from vllm.utils.argparse_utils import FlexibleArgumentParser\n"
        "parse = lambda argv: vars(make_arg_parser(FlexibleArgumentParser()).parse_args(argv))\n"
        "keep = ('model', 'model_tag', 'host', 'port', 'max_num_seqs', 'enable_prefix_caching', 'dtype', 'revision',"
        " 'allowed_origins', 'cudagraph_capture_sizes', 'speculative_config', 'hf_overrides', 'compilation_config',"
        " 'attention_config')\n"
        "shown = lambda argv: {k: v for k, v in parse(argv).items() if k in keep}\n"
        f"print(json.dumps([shown(['--config', {str(file)!r}]),"
        f" shown({[*flags, '--host', '127.0.0.1', '--port', '8123']!r})], default=repr))\n"
    )
    done = subprocess.run([str(engine_python), "-c", program], capture_output=True, text=True, check=True)
    from_yaml, from_flags = json.loads(done.stdout.splitlines()[-1])
    from_yaml["model"], from_flags["model"] = (
        from_yaml.pop("model_tag") or from_yaml["model"],
        from_flags.pop("model_tag"),
    )
    assert from_yaml == from_flags
    assert from_yaml["max_num_seqs"] == 64
    assert from_yaml["enable_prefix_caching"] is False
    assert from_yaml["revision"] == "0123"
    assert from_yaml["cudagraph_capture_sizes"] == [1, 2, 64]
    assert from_yaml["allowed_origins"] == ["https://one.example"]
    assert from_yaml["speculative_config"] == {"method": "ngram", "model": "0123"}
    assert from_yaml["hf_overrides"] == {"rope_theta": 0.5, "a_text": "true", "another": "-1"}
    for told in ("FULL", "1k", "[1, 8]", "'fuse_norm_quant': True"):
        assert told in from_yaml["compilation_config"]
    assert "flash_attn_max_num_splits_for_cuda_graph=16" in from_yaml["attention_config"]


@pytest.mark.parametrize(
    "text", ["0123", "12_000", "10:30", "1e3", "no", "null", "{% if x %}", "@x", "a: b", "# x", ""]
)
def test_a_text_stays_a_text_in_the_yaml(text: str) -> None:
    """Whatever YAML would make of it unquoted."""
    command = VllmLauncher(python=Path("python"), model="m").command({"revision": text, "seed": 12})
    file = EXPORTERS["yaml"](chosen(replace(TRIAL, command=command)))
    assert yaml.safe_load(file) == {"model": "m", "host": "127.0.0.1", "port": 8000, "revision": text, "seed": 12}


def test_what_is_not_passed_is_in_no_export() -> None:
    launcher = VllmLauncher(python=Path("python"), model="m", quantized_models={"awq": "m-awq"})
    command = launcher.command({"quantization": "none", "max_num_seqs": 8})
    assert (command.model, command.settings) == ("m", {"max_num_seqs": 8})
    command = launcher.command({"quantization": "awq", "max_num_seqs": 8})
    assert (command.model, command.settings) == ("m-awq", {"max_num_seqs": 8, "served_model_name": "m"})
    assert command.argv[-5:] == ("m-awq", "--max-num-seqs", "8", "--served-model-name", "m")


def test_the_json_record_carries_provenance_and_measurement() -> None:
    record = json.loads(EXPORTERS["json"](chosen(TRIAL)))
    assert record["argv"] == [*COMMAND.argv, "--host", "127.0.0.1", "--port", "8000"]
    assert record["fingerprint"]["engine_version"] == "0.32.0"
    assert record["metrics"]["output_throughput"] == 100.0
    assert record["failure"] is None


def test_the_json_record_has_the_whole_verdict() -> None:
    """For whoever knows statistics."""
    gain = Gain(gain=0.5, low=0.4, high=0.6, noise=0.02, p_better=0.001, p_worse=0.999, least_seen=0.05)
    verdict = Verdict(answer=Answer.BETTER, trial=3, launches=3, defaults=3, gain=gain, level=0.02)
    record = json.loads(EXPORTERS["json"](chosen(TRIAL, verdict)))
    assert (record["verdict"]["answer"], record["verdict"]["level"]) == ("better", 0.02)
    assert record["verdict"]["gain"] == {**asdict(gain)}
    assert json.loads(EXPORTERS["json"](chosen(TRIAL)))["verdict"] is None


def test_the_json_record_of_a_failed_trial_has_no_number() -> None:
    record = json.loads(EXPORTERS["json"](chosen(trial(1, failed()))))
    assert record["metrics"] is None
    assert record["failure"]["kind"] == "out of memory"


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (BETTER, None),
        (None, "NOT VERIFIED: trial 3 was measured once, and is not what its study recommends"),
        (replace(BETTER, answer=Answer.NOT_VERIFIED, why="see --verify"), "NOT VERIFIED: see --verify"),
        (
            replace(BETTER, why=f"the search is not finished: {AGAIN}"),
            f"NOT FINISHED: the search is not finished: {AGAIN}",
        ),
        (
            replace(BETTER, answer=Answer.NOT_TOLD_APART),
            "NOT RECOMMENDED: launched again, trial 3 is not told apart from vLLM's defaults: keep these",
        ),
        (
            replace(BETTER, answer=Answer.CRASHED),
            "NOT RECOMMENDED: launched again, trial 3 crashed: keep vLLM's defaults",
        ),
    ],
)
def test_what_is_not_verified_or_not_finished_says_so_first_in_every_format(verdict: Verdict | None, said: str) -> None:
    for name, export in EXPORTERS.items():
        lines = export(chosen(TRIAL, verdict, port=80)).splitlines()
        if said is None:
            assert not any(word in "".join(lines) for word in ("NOT VERIFIED", "NOT FINISHED", "NOT RECOMMENDED"))
        elif name == "json":
            word, _, why = said.partition(": ")
            assert json.loads(lines[0].rstrip(",") + "}") == {word.lower().replace(" ", "_"): why}
        else:
            assert lines[0] == f"# {said}"


def test_what_changes_the_answers_is_said() -> None:
    fp8 = replace(TRIAL, params={"quantization": "fp8_per_tensor", "kv_cache_dtype": "auto"})
    for name, export in EXPORTERS.items():
        assert "quantization=fp8_per_tensor changes the model's answers" in export(chosen(fp8, BETTER)), name
        assert "changes the model's answers" not in export(chosen(TRIAL, BETTER)), name


@pytest.mark.parametrize("name", ["X; touch pwned;Y", "A B", "1X", "$(touch pwned)", "-i", "X-Y"])
def test_an_environment_name_that_no_shell_takes_is_quoted(name: str, tmp_path: Path) -> None:
    odd = Command(argv=("printenv", name), environment={name: "a 'b' $HOME"})
    text = EXPORTERS["command"](chosen(replace(TRIAL, command=odd), BETTER))
    assert shlex.split(text, comments=True)[0] == "env"
    subprocess.run(["bash", "-c", text.split(" --host")[0]], cwd=tmp_path, capture_output=True, check=False)
    assert not list(tmp_path.iterdir())
