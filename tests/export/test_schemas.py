"""Every format against the schema of what reads it, and against the real tool where it is installed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import deployed
import jsonschema  # type: ignore[import-untyped]
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from deployed_samples import DEPLOYED, HAZARDS, to_deploy

from tuner.export.chosen import Chosen
from tuner.export.formats import EXPORTERS

TEXTS = tuple(text for text in HAZARDS if "\x7f" not in text)  # Helm cannot carry it
PLAIN = to_deploy(settings={"max_num_seqs": 64}, environment={"OMP_NUM_THREADS": "1"})
HARD = to_deploy(TEXTS, environment={f"V{number}": text for number, text in enumerate(TEXTS)}, study="A b/ü")
FOLDER = to_deploy(
    settings={"tensor_parallel_size": 2, "speculative_config.model": "/models/draft"}, model="/models/mine"
)
ENGINES = to_deploy(settings={"data_parallel_size": 2, "data_parallel_size_local": 1})
TRIALS = pytest.mark.parametrize("found", [PLAIN, HARD, FOLDER], ids=["plain", "hard", "folder"])
#: With one whose engines share a GPU, which not every format can say.
ALL = pytest.mark.parametrize("found", [PLAIN, HARD, FOLDER, ENGINES], ids=["plain", "hard", "folder", "engines"])


def closed(schema: Any) -> Any:
    """A CRD's schema as the API server holds it to in strict validation: unknown fields are errors."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(part) for name, part in schema.items()}
    if isinstance(found.get("properties"), dict) and "type" in found and "additionalProperties" not in found:
        found["additionalProperties"] = bool(found.get("x-kubernetes-preserve-unknown-fields"))
    return found


@ALL
def test_compose(found: Chosen) -> None:
    validator = jsonschema.Draft7Validator(deployed.schema("compose-spec"))
    validator.validate(yaml.safe_load(EXPORTERS["compose"](found)))


@ALL
@pytest.mark.parametrize("version", ["1.30.0", kubernetes_validate.latest_version()])
def test_kubernetes(found: Chosen, version: str) -> None:
    documents = list(yaml.safe_load_all(EXPORTERS["kubernetes"](found)))
    kinds = [] if found is FOLDER else ["PersistentVolumeClaim"]
    assert [document["kind"] for document in documents] == [*kinds, "Deployment", "Service"]
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)


@TRIALS
def test_the_production_stack(found: Chosen) -> None:
    """As Helm does it; and of the model no value that the chart does not know."""
    values, schema = yaml.safe_load(EXPORTERS["helm"](found)), deployed.schema("production-stack-values")
    jsonschema.validate(values, schema)
    engine = schema["properties"]["servingEngineSpec"]["properties"]
    assert set(values["servingEngineSpec"]) <= set(engine)
    jsonschema.validate(values["servingEngineSpec"]["modelSpec"], closed(engine["modelSpec"]))


@ALL
def test_llm_d(found: Chosen) -> None:
    jsonschema.validate(yaml.safe_load(EXPORTERS["llm-d"](found)), deployed.schema("llm-d-modelservice-values"))


@TRIALS
def test_kserve(found: Chosen) -> None:
    document = yaml.safe_load(EXPORTERS["kserve"](found))
    assert (document["apiVersion"], document["kind"]) == ("serving.kserve.io/v1alpha2", "LLMInferenceService")
    schema = closed(deployed.schema("kserve-llminferenceservice"))
    schema["properties"]["metadata"] = {"type": "object"}
    jsonschema.validate(document, schema)


def test_the_schemas_refuse_what_they_do_not_know() -> None:
    """Else the tests above could not fail."""
    document = yaml.safe_load(EXPORTERS["kserve"](PLAIN))
    document["spec"]["template"]["containers"][0]["comand"] = ["vllm"]
    schema = closed(deployed.schema("kserve-llminferenceservice"))
    schema["properties"]["metadata"] = {"type": "object"}
    with pytest.raises(jsonschema.ValidationError, match="comand"):
        jsonschema.validate(document, schema)
    values = yaml.safe_load(EXPORTERS["helm"](PLAIN))
    values["servingEngineSpec"]["modelSpec"][0]["vllmConfig"]["extraArgs"] = "--seed 1"
    with pytest.raises(jsonschema.ValidationError, match="--seed 1"):
        jsonschema.validate(values, deployed.schema("production-stack-values"))
    for name, key in (("llm-d-modelservice-values", "modelArtifacts"), ("compose-spec", "services")):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft7Validator(deployed.schema(name)).validate({key: 1})


def _compose() -> list[str]:
    """Docker's own: as a plugin, or as a program by itself."""
    for words in (["docker", "compose"], [str(Path(sys.executable).with_name("docker-compose"))], ["docker-compose"]):
        if shutil.which(words[0]):
            told = subprocess.run([*words, "version", "--short"], capture_output=True, text=True, check=False)
            if told.returncode == 0 and int(told.stdout.strip().lstrip("v").split(".")[0]) >= 2:
                return words
    pytest.skip("no Docker Compose 2 (docker compose, docker-compose)")


@TRIALS
def test_docker_compose_reads_the_words_that_ran(found: Chosen, tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(EXPORTERS["compose"](found))
    command = [*_compose(), "--file", str(file), "config", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    read = deployed.of_compose(done.stdout, json.loads)
    assert read.argv[2:-4] == found.trial.command.argv[2:]
    assert read.environment == found.trial.command.environment


@ALL
def test_systemd_verifies_the_unit(found: Chosen, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze: install Debian's systemd")
    for name in ("vllm", "python"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    unit = tmp_path / "vllm-tuned.service"
    unit.write_text(EXPORTERS["systemd"](found).replace("/opt/engine/bin", str(tmp_path)))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert unit.name not in done.stderr
    unit.write_text(unit.read_text().replace("%%n", "%n%").replace("Type=exec", 'Type=exec\nEnvironment="A'))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert unit.name in done.stderr  # else this could not fail


CHARTS = {"helm": "vllm-stack", "llm-d": "llm-d-modelservice"}


@TRIALS
@pytest.mark.parametrize("format", CHARTS)
def test_helm_renders_the_words_that_ran(format: str, found: Chosen, tmp_path: Path) -> None:
    """TUNER_CHARTS is a folder with both charts, their dependencies in them."""
    charts = os.environ.get("TUNER_CHARTS")
    if shutil.which("helm") is None or charts is None:
        pytest.skip("no helm, or TUNER_CHARTS names no folder with the charts vllm-stack and llm-d-modelservice")
    file = tmp_path / "values.yaml"
    file.write_text(EXPORTERS[format](found))
    command = ["helm", "template", "release", str(Path(charts) / CHARTS[format]), "--values", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    container = _rendered(done.stdout)
    words = tuple(map(deployed.kubernetes, (*container["command"], *container.get("args", ()))))
    expected = found.trial.command.argv[3:]
    assert words[:3] == ("vllm", "serve", found.trial.command.model)
    assert words[-len(expected) :] == expected if format == "helm" else words[3:-4] == expected
    environment = found.trial.command.environment.items()
    assert environment <= {**deployed.variables(container)}.items()


def _rendered(text: str) -> Mapping[str, Any]:
    for document in yaml.safe_load_all(text):
        if document and document["kind"] == "Deployment":
            pod = document["spec"]["template"]["spec"]
            for container in pod["containers"]:
                if container["name"] == "vllm":
                    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
                    found: Mapping[str, Any] = container
                    return found
    raise AssertionError("no Deployment with a container that is called vllm")


@pytest.mark.parametrize("format", DEPLOYED)
def test_no_text_is_anything_but_a_text(format: str) -> None:
    """Of a YAML 1.2 parser, too, which takes 1e3 and 0o7 for numbers."""
    text = EXPORTERS[format](HARD)
    for word in ("1e3", "0o7", "0123", "yes"):
        assert f'"{word}"' in text or format == "kserve"
        assert f"- {word}\n" not in text
        assert f": {word}\n" not in text
