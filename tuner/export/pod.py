"""What is exported in; the parts that every Kubernetes object with a vLLM in it is made of, out. Pure.

Kubernetes reads $(NAME) in arguments and values as a variable, and $$ as $.
"""

import re

from tuner.errors import UsageError
from tuner.export.chosen import Chosen
from tuner.export.engines import server
from tuner.export.labels import dns_label
from tuner.export.manifest import Tree
from tuner.export.serving import (
    PROBE_S,
    SHARED_MEMORY_GIB,
    environment,
    folders,
    gpus,
    is_folder,
    is_identifier,
    launched_arguments,
    startup_s,
    through_env,
)

#: The secret, and the key in it, with the hub's token; a pod starts without it, too.
TOKEN_SECRET, TOKEN_KEY = "hf-token", "HF_TOKEN"
#: Where the image's user keeps what it downloads and compiles.
CACHE_PATH = "/root/.cache"
GPU = "nvidia.com/gpu"
LISTENS = "a server in a pod listens on every address of it, so --host is not used: the Service decides who reaches it"
TOKEN_NOTE = f"for a gated model: kubectl create secret generic {TOKEN_SECRET} --from-literal={TOKEN_KEY}=..."

#: In a namespace with a Service that is called vllm, Kubernetes would else set VLLM_PORT, which vLLM reads.
NO_LINKS: Tree = {"enableServiceLinks": False}
_NOT_IN_YAML = re.compile("[\x7f-\x84\x86-\x9f\ufffe\uffff]")
_PLAIN = re.compile(r"[A-Za-z0-9._/@+:-]+")


def escaped(text: str) -> str:
    return text.replace("$", "$$")


def templated(variable: Tree) -> Tree:
    """A variable whose value Go's templates leave as it is."""
    value = variable.get("value")
    return {**variable, "value": value.replace("{{", "{{`{{`}}")} if isinstance(value, str) else variable


def check_variables(chosen: Chosen, what: str) -> None:
    """Raises UsageError for a variable that Kubernetes' API does not take, where nothing else can set it."""
    for name in environment(chosen.trial.command):
        if not is_identifier(name):
            raise UsageError(f"{what} cannot set the environment variable {name!r}: use --format kubernetes")


def check_for_helm(chosen: Chosen) -> None:
    """Raises UsageError for a text with which Helm's toYaml, which cannot write it, leaves out all that is beside it."""
    for text in (*launched_arguments(chosen), *environment(chosen.trial.command).values()):
        if _NOT_IN_YAML.search(text):
            raise UsageError(f"Helm cannot carry the control character in {text!r}: use --format kubernetes")


def check_plain(what: str, text: str) -> None:
    """Raises UsageError for a text that `what` gives to a shell, or to templates, as it is."""
    if not _PLAIN.fullmatch(text):
        raise UsageError(f"{what} cannot take {text!r}: it may hold letters, digits and ._/@+:- alone")


def program(chosen: Chosen) -> list[str]:
    """The command: variables with names that the API does not take are set by `env`."""
    odd = {name: value for name, value in environment(chosen.trial.command).items() if not is_identifier(name)}
    return [escaped(word) for word in (*through_env(odd), *_server(chosen)[:2])]


def arguments(chosen: Chosen) -> list[str]:
    """What ran, then the address."""
    return [escaped(word) for word in _server(chosen)[2:]]


def _server(chosen: Chosen) -> tuple[str, ...]:
    """`vllm serve ...`, or `bash -c ...`."""
    return server(chosen, ("vllm", "serve"), ("--host", "0.0.0.0", "--port", str(chosen.port)))


def variables(chosen: Chosen) -> list[Tree]:
    """The environment of the launch, and for a model of the hub its token, by reference."""
    found: list[Tree] = [
        {"name": name, "value": escaped(value)}
        for name, value in environment(chosen.trial.command).items()
        if is_identifier(name)
    ]
    return found if is_folder(chosen.trial.command.model) else [*found, token()]


def token() -> Tree:
    reference = {"name": TOKEN_SECRET, "key": TOKEN_KEY, "optional": True}
    return {"name": TOKEN_KEY, "valueFrom": {"secretKeyRef": reference}}


def resources(chosen: Chosen) -> Tree:
    count = gpus(chosen)
    return {name: {GPU: str(count)} for name in ("requests", "limits")} if count else {}


def probes(chosen: Chosen) -> Tree:
    """Of /health: alive only counts once it has started, for which it has the time of `startup_s`."""
    request = {"httpGet": {"path": "/health", "port": chosen.port}, "periodSeconds": PROBE_S, "timeoutSeconds": 5}
    return {
        "startupProbe": {**request, "failureThreshold": startup_s(chosen) // PROBE_S},
        "livenessProbe": {**request, "failureThreshold": 6},
        "readinessProbe": {**request, "failureThreshold": 3},
    }


def volumes(chosen: Chosen) -> tuple[list[Tree], list[Tree]]:
    """Shared memory, and the folders of the node that the server reads: the volumes, and where they are mounted."""
    memory = {"medium": "Memory", "sizeLimit": f"{SHARED_MEMORY_GIB}Gi"}
    found: list[Tree] = [{"name": "shared-memory", "emptyDir": memory}]
    mounts: list[Tree] = [{"name": "shared-memory", "mountPath": "/dev/shm"}]
    for number, path in enumerate(folders(chosen.trial.command)):
        if ":" in path:
            raise UsageError(f"Kubernetes cannot mount {path}: leave : out of the folder's name")
        found.append({"name": f"model-{number}", "hostPath": {"path": path}})
        mounts.append({"name": f"model-{number}", "mountPath": path, "readOnly": True})
    return found, mounts


def folder_note(chosen: Chosen) -> str | None:
    paths = folders(chosen.trial.command)
    return f"must be on the node that runs it: {', '.join(paths)}" if paths else None


def name_of(chosen: Chosen, longest: int = 63) -> str:
    return dns_label(chosen.study, longest)
