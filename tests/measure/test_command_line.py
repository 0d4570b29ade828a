"""Where a server of this machine listens, and what a command line says: flags in all their forms, and no key."""

import socket
import sys

import pytest

from tuner.measure.command_line import Listening, is_all, listening, of_words, settings_of

SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
SERVE = ["/venv/bin/python", "/venv/bin/vllm", "serve", "demo"]


@pytest.mark.parametrize(
    ("flags", "limit", "is_eager"),
    [
        (["--max-num-seqs", "4"], 4, False),
        (["--max_num_seqs=8", "--enforce_eager"], 8, True),
        (["--max-num-seqs", "4", "--max-num-seqs=6"], 6, False),
        (["--max-num-seqs", "many"], None, False),
        (["--enforce-eager"], None, True),
        ([], None, False),
    ],
)
def test_what_a_command_line_says(flags: list[str], limit: int | None, is_eager: bool) -> None:
    found = of_words("127.0.0.1", [*SERVE, *flags])
    assert found == Listening(address="127.0.0.1", is_told=True, max_num_seqs=limit, is_eager=is_eager)


@pytest.mark.parametrize("words", [["nginx"], [], [*SERVE, "--config", "vllm.yaml", "--max-num-seqs", "4"]])
def test_what_is_no_vllm_or_has_a_file_of_arguments_tells_nothing(words: list[str]) -> None:
    assert of_words("0.0.0.0", words) == Listening(address="0.0.0.0", is_told=False)


def test_each_engine_behind_a_port_has_its_own_limit() -> None:
    found = of_words("::1", [*SERVE, "-dp", "4", "--max-num-seqs", "64"])
    assert (found.max_num_seqs, found.engines) == (64, 4)
    assert of_words("::1", [*SERVE, "-dp", "4", "-dpn", "0"]).engines == 1, "each rank has a port of its own"
    assert of_words("::1", [*SERVE, "-dp", "4", "-dpl", "2", "-dph"]).engines == 2
    assert of_words("::1", [*SERVE, "-dp", "many"]).engines == 1


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        (
            ["--speculative-config", '{"method":"ngram","num_speculative_tokens":5}'],
            {"speculative_config.method": "ngram", "speculative_config.num_speculative_tokens": 5},
        ),
        (["-sc.method=ngram"], {"speculative_config.method": "ngram"}),
        (['--compilation-config={"cudagraph_mode":"FULL"}'], {"compilation_config.cudagraph_mode": "FULL"}),
        (["-O.cudagraph_mode=FULL"], {"compilation_config.cudagraph_mode": "FULL"}),
        (["-O3"], {"optimization_level": 3}),
        (["-O", "2"], {"optimization_level": 2}),
        (["-tp", "2", "-pp=3", "-dp", "4"], dict(zip(SIZES, (2, 3, 4), strict=True))),
        (["-q", "fp8", "-ep"], {"quantization": "fp8", "enable_expert_parallel": True}),
        (
            ["--max-num-batched-tokens", "8k", "--max-model-len", "8K"],
            {"max_num_batched_tokens": 8000, "max_model_len": 8192},
        ),
        (["--max-model-len", "1.5k", "--seed", "-1"], {"max_model_len": 1500, "seed": -1}),
        (["--cudagraph-capture-sizes", "1", "2"], {"cudagraph_capture_sizes": "[1, 2]"}),
        (["--no-enable-prefix-caching"], {"enable_prefix_caching": False}),
    ],
)
def test_settings_are_read_as_vllm_reads_them(flags: list[str], settings: dict[str, object]) -> None:
    assert settings_of([*SERVE, *flags]) == settings


def test_the_model_may_stand_behind_the_flags() -> None:
    assert settings_of(["vllm", "serve", "--max-num-seqs", "4", "demo"]) == {"max_num_seqs": 4}


@pytest.mark.parametrize(
    "flags",
    [
        ["--api-key", "hunter2", "hunter2"],
        ["--kv-transfer-config.kv_connector_extra_config.auth", "hunter2"],
        ["--kv-transfer-config", '{"kv_connector_extra_config":{"password":"hunter2","userApiKey":"hunter2"}}'],
        ["--kv-transfer-config.kv_connector_extra_config.auth.user", "hunter2"],
        ["--ssl-keyfile-password", "hunter2"],
        ["--allowed-origins", "http://user:hunter2@x"],
    ],
)
def test_no_secret_is_given_on(flags: list[str]) -> None:
    found = settings_of([*SERVE, *flags, "--max-num-seqs", "4"])
    assert found["max_num_seqs"] == 4
    assert "hunter2" not in repr(found)


def test_whether_a_command_line_says_all() -> None:
    assert is_all(SERVE)
    assert not is_all([*SERVE, "--config=vllm.yaml"])
    assert not is_all(["nginx"])


def test_a_key_on_the_command_line_is_not_given_on() -> None:
    assert "secret" not in repr(of_words("::1", [*SERVE, "--api-key", "secret"]))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems hide the tables from users")
def test_who_listens_on_a_port_of_this_machine() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert listening(port) is None
        server.listen()
        assert listening(port) == Listening(address="127.0.0.1", is_told=False)  # pytest is no vLLM
