"""A trial in, the values for llm-d's modelservice chart out. Pure.

The chart's `custom` command is run as it is; values of variables go through Go's templates. Without a proxy in front, which
only the split into prefill and decode needs, vLLM has the service's port.
"""

from tuner.export.chosen import Chosen
from tuner.export.image import image_of
from tuner.export.manifest import Tree, yaml_text
from tuner.export.pod import (
    LISTENS,
    NO_LINKS,
    TOKEN_NOTE,
    arguments,
    check_for_helm,
    folder_note,
    name_of,
    probes,
    program,
    templated,
    variables,
    volumes,
)
from tuner.export.provenance import head
from tuner.export.serving import STOP_S, gpus, is_folder, replicas_inside, served_name

_CACHE = "100Gi"
_START = (
    "start: helm upgrade --install RELEASE llm-d-modelservice "
    "--repo https://llm-d-incubation.github.io/llm-d-modelservice -f FILE"
)


def export_llm_d(chosen: Chosen) -> str:
    check_for_helm(chosen)
    command = chosen.trial.command
    image, on_hub = image_of(chosen.fingerprint), not is_folder(command.model)
    notes = (image.note, LISTENS, folder_note(chosen), TOKEN_NOTE if on_hub else None, _START)
    values: Tree = {
        "modelArtifacts": {
            "name": served_name(command),
            "uri": f"hf://{command.model}" if on_hub else f"file://{command.model}",
            "size": _CACHE,
            "labels": {"llm-d.ai/inference-serving": "true", "llm-d.ai/model": name_of(chosen)},
        },
        "accelerator": {"type": "nvidia" if gpus(chosen) else "cpu"},
        "routing": {"servicePort": chosen.port, "proxy": {"enabled": False}},
        "decode": _decode(chosen, image.name, on_hub=on_hub),
        "prefill": {"create": False},
    }
    return head(chosen, *notes) + yaml_text([values])


def _decode(chosen: Chosen, image: str, *, on_hub: bool) -> Tree:
    found, mounts = volumes(chosen)
    inside = replicas_inside(chosen)
    container: Tree = {
        "name": "vllm",
        "image": image,
        "modelCommand": "custom",
        "command": program(chosen),
        "args": arguments(chosen),
        "env": [templated(variable) for variable in variables(chosen)],
        "ports": [{"name": "metrics", "containerPort": chosen.port}],
        "mountModelVolume": on_hub,
        "volumeMounts": mounts,
        "extraConfig": probes(chosen),
    }
    return {
        "replicas": 1,
        "parallelism": {"tensor": max(gpus(chosen), 1) // inside, "data": inside, "dataLocal": inside, "workers": 1},
        **NO_LINKS,
        "terminationGracePeriodSeconds": STOP_S,
        "containers": [container],
        "volumes": found,
    }
