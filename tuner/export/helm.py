"""A trial in, the values for the Helm chart of vLLM's production stack out. Pure.

The chart runs `vllm serve MODEL --host 0.0.0.0 --port PORT`, turns prefix caching on or off itself, and then adds
`extraArgs`; of an argument given twice vLLM takes the second.
"""

from tuner.export.chosen import Chosen
from tuner.export.engines import check_one_process
from tuner.export.image import Image, image_of
from tuner.export.manifest import Tree, yaml_text
from tuner.export.pod import (
    LISTENS,
    TOKEN_NOTE,
    check_for_helm,
    check_variables,
    escaped,
    folder_note,
    name_of,
    probes,
    resources,
    variables,
    volumes,
)
from tuner.export.provenance import head
from tuner.export.serving import gpus, is_folder, launched_arguments

#: A pod's host name is RELEASE-NAME-vllm-stack, of at most 63 letters.
_LONGEST = 24
_CACHE = "100Gi"
_GRACE = "the chart cannot set how long a pod may take to end: it is Kubernetes' 30 s"
_START = (
    "start: helm upgrade --install RELEASE vllm-stack --repo https://vllm-project.github.io/production-stack -f FILE"
)


def export_helm(chosen: Chosen) -> str:
    check_one_process(chosen, "the chart of the production stack")
    check_variables(chosen, "the chart")
    check_for_helm(chosen)
    image, on_hub = image_of(chosen.fingerprint), not is_folder(chosen.trial.command.model)
    notes = (image.note, LISTENS, folder_note(chosen), TOKEN_NOTE if on_hub else None, _GRACE, _START)
    engine: Tree = {
        "containerPort": chosen.port,
        "servicePort": chosen.port,
        "runtimeClassName": "nvidia" if gpus(chosen) else "",
        **probes(chosen),
        "modelSpec": [_model(chosen, image)],
    }
    return head(chosen, *notes) + yaml_text([{"servingEngineSpec": engine}])


def _model(chosen: Chosen, image: Image) -> Tree:
    model, *flags = launched_arguments(chosen)
    found, mounts = volumes(chosen)
    return {
        "name": name_of(chosen, _LONGEST),
        "repository": image.repository,
        "tag": image.tag,
        "modelURL": escaped(model),
        "replicaCount": 1,
        "resources": resources(chosen) or {"requests": {"cpu": "1"}},
        **({} if is_folder(model) else {"pvcStorage": _CACHE}),
        "env": variables(chosen),
        "vllmConfig": {
            "enablePrefixCaching": _prefix_caching(chosen),
            "extraArgs": [escaped(word) for word in flags],
        },
        "extraVolumes": found,
        "extraVolumeMounts": mounts,
    }


def _prefix_caching(chosen: Chosen) -> bool:
    """As it ran: what was passed, or else what vLLM made of its default."""
    name, trial = "enable_prefix_caching", chosen.trial
    return trial.command.settings.get(name, trial.effective.get(name, trial.resolved.get(name, True))) is not False
