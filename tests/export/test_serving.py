"""What a server needs of whatever runs it, in every format that deploys."""

import json
from dataclasses import replace
from typing import Any

import deployed
import pytest
import yaml
from deployed_samples import BETTER, DEPLOYED, to_deploy
from samples import FINGERPRINT, chosen, failed, measured, trial

from tuner.errors import UsageError
from tuner.export.formats import EXPORTERS
from tuner.export.serving import folders, gpus, startup_s
from tuner.types import Command, Params


def deployment(text: str) -> Any:
    return next(one for one in yaml.safe_load_all(text) if one["kind"] == "Deployment")["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 1),
        ({"tensor_parallel_size": 4}, 4),
        ({"tensor_parallel_size": 2, "pipeline_parallel_size": 2, "data_parallel_size": 2}, 8),
        ({"data_parallel_size": 2, "decode_context_parallel_size": 2}, 2),
    ],
)
def test_as_many_gpus_as_the_parallel_sizes_need(settings: Params, count: int) -> None:
    found = to_deploy(settings=settings)
    assert gpus(found) == count
    compose, helm, kserve, llm_d = (
        yaml.safe_load(EXPORTERS[format](found)) for format in ("compose", "helm", "kserve", "llm-d")
    )
    devices = compose["services"]["vllm"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": count, "capabilities": ["gpu"]}]
    (container,) = deployment(EXPORTERS["kubernetes"](found))["containers"]
    for one in (container, helm["servingEngineSpec"]["modelSpec"][0], kserve["spec"]["template"]["containers"][0]):
        assert one["resources"]["limits"] == {"nvidia.com/gpu": str(count)}
    parallel = llm_d["decode"]["parallelism"]
    assert parallel["tensor"] * parallel["dataLocal"] == count


def test_a_study_of_the_cpu_asks_for_no_gpu() -> None:
    found = replace(to_deploy(), fingerprint=replace(FINGERPRINT, gpu=None, gpu_count=0, engine_version="0.32.0+cpu"))
    for format in DEPLOYED:
        text = EXPORTERS[format](found)
        assert "nvidia" not in text
        assert format == "systemd" or "vllm-openai-cpu" in text


@pytest.mark.parametrize(
    ("measured_s", "model", "allowed_s"),
    [(30.0, "some/model", 1800), (30.0, "/models/m", 600), (61.03, "/models/m", 620), (None, "/models/m", 600)],
)
def test_a_start_has_ten_times_what_it_took(measured_s: float | None, model: str, allowed_s: int) -> None:
    found = to_deploy(model=model)
    found = replace(found, trial=replace(found.trial, outcome=replace(measured(), startup_s=measured_s)))
    assert startup_s(found) == allowed_s
    (container,) = deployment(EXPORTERS["kubernetes"](found))["containers"]
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == allowed_s
    assert probe["httpGet"] == container["livenessProbe"]["httpGet"] == {"path": "/health", "port": 8000}
    assert f"TimeoutStartSec={allowed_s}\n" in EXPORTERS["systemd"](found)
    assert f'start_period: "{allowed_s}s"' in EXPORTERS["compose"](found)


def test_a_folder_of_the_host_is_where_it_was_and_read_only() -> None:
    found = to_deploy(model="/models/mine", settings={"speculative_config.model": "/models/draft", "max_num_seqs": 8})
    for text in ("/models/mine", "/models/draft"):
        volumes = yaml.safe_load(EXPORTERS["compose"](found))["services"]["vllm"]["volumes"]
        (one,) = [volume for volume in volumes if volume["source"] == text]
        assert (one["target"], one["read_only"], one["bind"]) == (text, True, {"create_host_path": False})
        pod = deployment(EXPORTERS["kubernetes"](found))
        (name,) = [volume["name"] for volume in pod["volumes"] if volume.get("hostPath") == {"path": text}]
        (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == name]
        assert mount == {"name": name, "mountPath": text, "readOnly": True}
    for format in DEPLOYED:
        assert "HF_TOKEN" not in EXPORTERS[format](found), format
    spec, _ = deployed.of_kserve(EXPORTERS["kserve"](found))
    mounts = spec["template"]["containers"][0]["volumeMounts"]
    assert [mount["mountPath"] for mount in mounts] == ["/mnt/models", "/models/draft"]
    assert (spec["model"]["name"], spec["storageInitializer"]) == ("/models/mine", {"enabled": False})


def test_of_a_snapshot_in_the_hubs_cache_the_files_are_mounted_too() -> None:
    """A snapshot holds links to ../../blobs."""
    model = "/home/me/.cache/huggingface/hub/models--a--b/snapshots/0123"
    found = to_deploy(model=model)
    assert folders(found.trial.command) == ["/home/me/.cache/huggingface/hub/models--a--b"]
    assert deployed.of_kubernetes(EXPORTERS["kubernetes"](found)).argv[2] == model
    with pytest.raises(UsageError, match="KServe mounts one folder"):
        EXPORTERS["kserve"](found)


@pytest.mark.parametrize("model", ["/models/$(reboot)", "/models/a b", "/models/{{x}}"])
def test_a_model_that_kserves_shell_would_read_is_refused(model: str) -> None:
    with pytest.raises(UsageError, match="KServe cannot take '/models/"):
        EXPORTERS["kserve"](to_deploy(model=model))


def test_a_folder_that_kubernetes_cannot_mount_is_refused() -> None:
    with pytest.raises(UsageError, match="Kubernetes cannot mount /models/a:b"):
        EXPORTERS["kubernetes"](to_deploy(model="/models/a:b"))


def test_the_name_that_clients_use_is_kept_where_the_checkpoint_is_another() -> None:
    found = to_deploy(model="some/awq", settings={"max_num_seqs": 8, "served_model_name": "some/model"})
    spec, read = deployed.of_kserve(EXPORTERS["kserve"](found))
    assert spec["model"] == {"uri": "hf://some/awq", "name": "some/model"}
    assert read.argv == ("--max-num-seqs 8",)  # KServe passes the name
    assert yaml.safe_load(EXPORTERS["llm-d"](found))["modelArtifacts"]["name"] == "some/model"
    assert deployed.of_kubernetes(EXPORTERS["kubernetes"](found)).argv[2:7] == (
        *("some/awq", "--max-num-seqs", "8", "--served-model-name", "some/model"),
    )


@pytest.mark.parametrize("name", ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "my_password"])
def test_no_secret_is_in_any_export(name: str) -> None:
    """They are kept out of studies already; should one get in, it does not get out."""
    found = to_deploy(environment={name: "hunter2", "OMP_NUM_THREADS": "1"})
    for format, export in EXPORTERS.items():
        assert "hunter2" not in export(found), format


def test_the_token_of_the_hub_is_a_reference_that_may_be_missing() -> None:
    found = to_deploy()
    assert yaml.safe_load(EXPORTERS["compose"](found))["services"]["vllm"]["env_file"] == [
        {"path": "hf.env", "required": False}
    ]
    assert "\nEnvironmentFile=-/etc/default/demo\n" in EXPORTERS["systemd"](found)
    reference = {"name": "hf-token", "key": "HF_TOKEN", "optional": True}
    for container in (
        deployment(EXPORTERS["kubernetes"](found))["containers"][0],
        yaml.safe_load(EXPORTERS["helm"](found))["servingEngineSpec"]["modelSpec"][0],
        yaml.safe_load(EXPORTERS["kserve"](found))["spec"]["template"]["containers"][0],
        yaml.safe_load(EXPORTERS["llm-d"](found))["decode"]["containers"][0],
    ):
        assert {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}} in container["env"]


def test_the_address_is_the_users() -> None:
    found = to_deploy(host="192.0.2.7")
    (port,) = yaml.safe_load(EXPORTERS["compose"](found))["services"]["vllm"]["ports"]
    assert port == {"target": 8000, "published": "8000", "host_ip": "192.0.2.7"}
    assert deployed.of_systemd(EXPORTERS["systemd"](found)).argv[-4:] == ("--host", "192.0.2.7", "--port", "8000")
    assert '"127.0.0.1"' in EXPORTERS["compose"](to_deploy(host="localhost"))
    with pytest.raises(UsageError, match="Docker Compose publishes a port on an address"):
        EXPORTERS["compose"](to_deploy(host="box.example"))
    for format in ("kubernetes", "helm", "llm-d", "kserve"):
        assert "--host" in next(line for line in EXPORTERS[format](found).splitlines() if "not used" in line)


def test_a_server_on_all_addresses_is_asked_on_loopback() -> None:
    for host, asked in (("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("192.0.2.7", "192.0.2.7")):
        post = deployed.of_systemd(EXPORTERS["systemd"](to_deploy(host=host)), "ExecStartPost", "17")
        assert post.argv[-3:] == (asked, "8000", "17")


def test_everything_ends_by_sigterm_and_has_a_minute_for_it() -> None:
    found = to_deploy()
    service = yaml.safe_load(EXPORTERS["compose"](found))["services"]["vllm"]
    assert (service["stop_signal"], service["stop_grace_period"]) == ("SIGTERM", "60s")
    assert "\nKillSignal=SIGTERM\nKillMode=mixed\nTimeoutStopSec=60\n" in EXPORTERS["systemd"](found)
    for pod in (
        deployment(EXPORTERS["kubernetes"](found)),
        yaml.safe_load(EXPORTERS["kserve"](found))["spec"]["template"],
        yaml.safe_load(EXPORTERS["llm-d"](found))["decode"],
    ):
        assert pod["terminationGracePeriodSeconds"] == 60
        assert pod["enableServiceLinks"] is False


def test_the_interpreter_beside_vllm_waits_for_it() -> None:
    for program, interpreter in (
        ("/opt/e/bin/vllm", "/opt/e/bin/python"),
        ("/opt/e/bin/python3.12", "/opt/e/bin/python3.12"),
    ):
        post = deployed.of_systemd(EXPORTERS["systemd"](to_deploy(program=program)), "ExecStartPost", "17")
        assert post.argv[:2] == (interpreter, "-c")


def test_a_dollar_in_the_path_of_a_unit_is_no_variable() -> None:
    unit = EXPORTERS["systemd"](to_deploy(("$A",), program="/opt/a$b%c/vllm"))
    assert 'ExecStart="/opt/a$b%%c/vllm" "serve" "some/model" "$$A"' in unit


def test_the_json_has_as_fields_what_the_others_have_as_comments() -> None:
    record = json.loads(EXPORTERS["json"](to_deploy()))
    assert (record["study"], record["trial"], record["image"]) == ("demo", 3, "vllm/vllm-openai:v0.32.0")
    assert record["gain"].startswith("verified: +28.3 % [+20.0, +36.6] over vLLM's defaults in output_throughput")
    assert record["image_note"] is None
    assert json.loads(EXPORTERS["json"](chosen(trial(1, failed()))))["failure"]["kind"] == "out of memory"


def test_defaults_have_nothing_to_gain() -> None:
    found = replace(to_deploy(), trial=replace(to_deploy().trial, is_default=True))
    for format in DEPLOYED:
        assert "# gain: none: these are vLLM's defaults" in EXPORTERS[format](found)
    unverified = replace(to_deploy(), verdict=None)
    for format in DEPLOYED:
        lines = EXPORTERS[format](unverified).splitlines()
        assert lines[0].startswith("# NOT VERIFIED: ")
        assert any(line.startswith("# gain: not verified: trial 3 was measured once") for line in lines)


def test_what_changes_the_answers_is_told_against_the_defaults() -> None:
    half = replace(to_deploy(), trial=replace(to_deploy().trial, params={"dtype": "half"}))
    same = replace(half, defaults=trial(0, measured(), params={"dtype": "half"}, is_default=True))
    assert "dtype=half changes the model's answers" in EXPORTERS["compose"](half)
    assert "changes the model's answers" not in EXPORTERS["compose"](same)
    assert half.verdict == BETTER


def test_a_command_that_is_no_vllm_serve_is_made_from_its_settings() -> None:
    command = Command(argv=("python", "-m", "other"), model="m", settings={"max_num_seqs": 8, "enforce_eager": False})
    found = replace(to_deploy(), trial=replace(to_deploy().trial, command=command))
    assert deployed.of_kubernetes(EXPORTERS["kubernetes"](found)).argv[:6] == (
        *("vllm", "serve", "m", "--max-num-seqs", "8", "--no-enforce-eager"),
    )
