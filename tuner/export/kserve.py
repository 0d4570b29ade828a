"""A trial in, KServe's LLMInferenceService out. Pure.

KServe fetches the model to /mnt/models and runs `vllm serve /mnt/models --served-model-name NAME --port 8000 ARGUMENTS`, the
arguments from VLLM_ADDITIONAL_ARGS, which its shell reads, after Go's templates ({{ }}) and Kubernetes ($) have.
"""

import shlex

from tuner.errors import UsageError
from tuner.export.chosen import Chosen
from tuner.export.engines import check_one_process
from tuner.export.image import image_of
from tuner.export.manifest import Tree, yaml_text
from tuner.export.pod import (
    NO_LINKS,
    TOKEN_NOTE,
    check_plain,
    check_variables,
    escaped,
    folder_note,
    name_of,
    resources,
    templated,
    variables,
    volumes,
)
from tuner.export.provenance import head
from tuner.export.serving import PROBE_S, STOP_S, flags, folders, is_folder, served_name, startup_s

_MODEL_PATH = "/mnt/models"
_PORT = "KServe's servers listen on port 8000 of every address of their pod: --host and --port are not used"
_DOWNLOADS = """for the download: kubectl patch serviceaccount default -p '{"secrets": [{"name": "hf-token"}]}'"""
_START = "start: kubectl apply -f FILE (KServe 0.20 or newer)"


def export_kserve(chosen: Chosen) -> str:
    check_one_process(chosen, "KServe")
    check_variables(chosen, "KServe")
    for text in (*folders(chosen.trial.command), chosen.trial.command.model, served_name(chosen.trial.command)):
        check_plain("KServe", text)
    image, on_hub = image_of(chosen.fingerprint), not is_folder(chosen.trial.command.model)
    token = f"{TOKEN_NOTE}, and {_DOWNLOADS}" if on_hub else None
    notes = (image.note, _PORT, folder_note(chosen), token, _START)
    document: Tree = {
        "apiVersion": "serving.kserve.io/v1alpha2",
        "kind": "LLMInferenceService",
        "metadata": {"name": name_of(chosen, 40)},
        "spec": _spec(chosen, image.name),
    }
    return head(chosen, *notes) + yaml_text([document])


def _spec(chosen: Chosen, image: str) -> Tree:
    command = chosen.trial.command
    found, mounts = _volumes(chosen)
    arguments = shlex.join(flags(chosen, "served_model_name"))
    container: Tree = {
        "name": "main",
        "image": image,
        "securityContext": {"runAsNonRoot": False},
        "env": [*map(templated, (*variables(chosen), *_additional(arguments)))],
        "resources": resources(chosen),
        "startupProbe": {"periodSeconds": PROBE_S, "failureThreshold": startup_s(chosen) // PROBE_S},
        "volumeMounts": mounts,
    }
    return {
        "model": {"uri": _uri(command.model, command.settings.get("revision")), "name": served_name(command)},
        **({"storageInitializer": {"enabled": False}} if is_folder(command.model) else {}),
        "replicas": 1,
        "router": {"route": {}},
        "template": {
            **NO_LINKS,
            "terminationGracePeriodSeconds": STOP_S,
            "containers": [container],
            "volumes": found,
        },
    }


def _uri(model: str, revision: object) -> str:
    if is_folder(model):
        return f"file://{model}"
    return f"hf://{model}" if revision is None else f"hf://{model}:{revision}"


def _additional(arguments: str) -> list[Tree]:
    return [{"name": "VLLM_ADDITIONAL_ARGS", "value": escaped(arguments)}] if arguments else []


def _volumes(chosen: Chosen) -> tuple[list[Tree], list[Tree]]:
    """KServe has shared memory of its own, of 1 GiB, below this name; a model of the node is mounted where KServe puts it."""
    (memory, *found), (_, *mounts) = volumes(chosen)
    if is_folder(model := chosen.trial.command.model):
        if mounts[0]["mountPath"] != model:
            raise UsageError(f"KServe mounts one folder, and {model} links to others: give tuner the model's hub name")
        mounts[0] = {**mounts[0], "mountPath": _MODEL_PATH}
    return [{**memory, "name": "dshm"}, *found], mounts
