"""A trial in, a Deployment and a Service for it out, with a claim for what is downloaded of the hub. Pure."""

from tuner.export.chosen import Chosen
from tuner.export.image import image_of
from tuner.export.manifest import Tree, yaml_text
from tuner.export.pod import (
    CACHE_PATH,
    LISTENS,
    NO_LINKS,
    TOKEN_NOTE,
    arguments,
    folder_note,
    name_of,
    probes,
    program,
    resources,
    variables,
    volumes,
)
from tuner.export.provenance import head
from tuner.export.serving import STOP_S, is_folder

_CACHE = "100Gi"


def export_kubernetes(chosen: Chosen) -> str:
    image, on_hub = image_of(chosen.fingerprint), not is_folder(chosen.trial.command.model)
    notes = (image.note, LISTENS, folder_note(chosen), TOKEN_NOTE if on_hub else None, "start: kubectl apply -f FILE")
    documents = [*([_claim(chosen)] if on_hub else []), _deployment(chosen, image.name), _service(chosen)]
    return head(chosen, *notes) + yaml_text(documents)


def _metadata(chosen: Chosen) -> Tree:
    name = name_of(chosen)
    return {"name": name, "labels": {"app.kubernetes.io/name": "vllm", "app.kubernetes.io/instance": name}}


def _claim(chosen: Chosen) -> Tree:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _metadata(chosen),
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": _CACHE}}},
    }


def _deployment(chosen: Chosen, image: str) -> Tree:
    metadata = _metadata(chosen)
    labels = metadata["labels"]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _pod(chosen, image)},
        },
    }


def _pod(chosen: Chosen, image: str) -> Tree:
    found, mounts = volumes(chosen)
    if not is_folder(chosen.trial.command.model):
        found.append({"name": "cache", "persistentVolumeClaim": {"claimName": name_of(chosen)}})
        mounts.append({"name": "cache", "mountPath": CACHE_PATH})
    container: Tree = {
        "name": "vllm",
        "image": image,
        "command": program(chosen),
        "args": arguments(chosen),
        "env": variables(chosen),
        "ports": [{"name": "http", "containerPort": chosen.port}],
        "resources": resources(chosen),
        **probes(chosen),
        "volumeMounts": mounts,
    }
    return {**NO_LINKS, "terminationGracePeriodSeconds": STOP_S, "containers": [container], "volumes": found}


def _service(chosen: Chosen) -> Tree:
    metadata = _metadata(chosen)
    ports = [{"name": "http", "port": chosen.port, "targetPort": "http"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": metadata["labels"], "ports": ports},
    }
