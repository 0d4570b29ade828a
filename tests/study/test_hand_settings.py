"""Hand settings in all the forms that a user gives; one sentence for what is wrong, and no secret in any."""

import os
from pathlib import Path

import pytest

from tuner.errors import UsageError
from tuner.study.hand_settings import flags_of, hand_settings, params_of
from tuner.types import Params

SECRET = "hunter2"  # shorter than what is known by its form


@pytest.mark.parametrize(
    ("said", "params"),
    [
        ("--max-num-seqs 4 -q fp8", {"max_num_seqs": 4, "quantization": "fp8"}),
        ("--max-num-batched-tokens 8k", {"max_num_batched_tokens": 8000}),
        ('--speculative-config \'{"method": "ngram"}\'', {"speculative_config.method": "ngram"}),
        ("-sc.method ngram --no-enable-x", {"speculative_config.method": "ngram", "enable_x": False}),
        ("HOME=/x vllm serve m --max-num-seqs 4 && echo", {"max_num_seqs": 4}),
        ("HOME=/x m --max-num-seqs 4", {"max_num_seqs": 4}),
    ],
)
def test_they_are_read_and_read_back(said: str, params: Params) -> None:
    found = hand_settings(said)
    assert found.params == params
    assert found.said == said
    assert params_of(flags_of(params)) == params


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("--max-num-seqs 4 --max-num-seqs 8", "max_num_seqs"),
        ("--max-num-seqs 4 --max_num_seqs=4", "max_num_seqs"),
        ("-tp 2 --tensor-parallel-size 2", "tensor_parallel_size"),
        ("--enforce-eager --no-enforce-eager", "enforce_eager"),
        ("-cc.mode 3 --compilation-config '{\"mode\": 2}'", "compilation_config.mode"),
    ],
)
def test_what_is_given_twice_is_refused(said: str, name: str) -> None:
    with pytest.raises(UsageError, match=rf"--baseline: {name} is given twice: leave one of them out"):
        hand_settings(said)


def test_what_a_file_says_twice_is_refused(tmp_path: Path) -> None:
    (file := tmp_path / "mine.yaml").write_text("max-num-seqs: 4\nmax_num_seqs: 8\n")
    with pytest.raises(UsageError, match=r"mine\.yaml: max_num_seqs is given twice"):
        hand_settings(str(file))


@pytest.mark.parametrize(
    "said",
    [
        f"VLLM_API_KEY={SECRET} vllm serve model",
        f"VLLM_API_KEY='two {SECRET}' vllm serve model",
        f"VLLM_API_KEY={SECRET}",
        f"HF_TOKEN={SECRET} vllm serve model --port 80",
        f"HF_TOKEN={SECRET} vllm serve model more --max-num-seqs 4",
        f"vllm serve m --api-key {SECRET} --max-num-seqs 4",
        f"vllm serve m --max-num-seqs 4 --hf-token={SECRET}",
        f"--kv-transfer-config.kv_connector_extra_config.auth {SECRET}",
        f'--kv-transfer-config \'{{"kv_connector_extra_config": {{"password": "{SECRET}"}}}}\'',
        f'--kv-transfer-config \'{{"auth": {{"user": "{SECRET}"}}}}\'',
        f'--kv-transfer-config \'{{"password": ["{SECRET}", null]}}\'',
        f"--allowed-origins http://user:{SECRET}@x",
        f"--Max-Num-Seqs={SECRET}",
        f"--max-num-seqs 4 -x={SECRET}",
        f"--max-num-seqs $A={SECRET}",
    ],
)
def test_a_refusal_repeats_no_secret(said: str) -> None:
    with pytest.raises(UsageError) as refused:
        hand_settings(said)
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("prefix", [f"HF_TOKEN={SECRET}", f"A=1 AWS_SECRET_ACCESS_KEY='{SECRET} {SECRET}'"])
def test_what_is_kept_of_what_was_said_has_no_secret(prefix: str) -> None:
    found = hand_settings(f"{prefix} vllm serve m --max-num-seqs 4")
    assert SECRET not in repr(found)
    assert found.said.endswith("=*** vllm serve m --max-num-seqs 4")
    assert found.params == {"max_num_seqs": 4}
    assert hand_settings(f"{prefix} --max-num-seqs 4").params == found.params


def test_a_secret_in_a_file_is_refused_by_its_name(tmp_path: Path) -> None:
    (file := tmp_path / "mine.yaml").write_text(f"kv-transfer-config: {{a: {{password: {SECRET}}}}}\n")
    with pytest.raises(UsageError, match=r"kv_transfer_config\.a\.password is a secret") as refused:
        hand_settings(str(file))
    assert SECRET not in str(refused.value)


def test_only_a_regular_file_of_a_size_that_a_person_writes_is_read(tmp_path: Path) -> None:
    (big := tmp_path / "big").write_text("#" * (1 << 20) + "\n--max-num-seqs 4")
    with pytest.raises(UsageError, match=r"big cannot be read: it is larger than 1 MiB"):
        hand_settings(str(big))
    os.mkfifo(pipe := tmp_path / "pipe")
    for path, why in ((Path("/dev/zero"), "no regular file"), (pipe, "no regular file"), (tmp_path, "a folder")):
        with pytest.raises(UsageError, match=rf"{path} cannot be read: it is {why}"):
            hand_settings(str(path))
