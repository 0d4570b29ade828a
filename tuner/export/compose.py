"""A trial in, a Docker Compose file out. Pure.

Compose reads $NAME in every value as a variable, and $$ as $.
"""

import ipaddress

from tuner.errors import UsageError
from tuner.export.chosen import Chosen
from tuner.export.engines import server
from tuner.export.image import image_of
from tuner.export.labels import dns_label
from tuner.export.manifest import Tree, yaml_text
from tuner.export.pod import CACHE_PATH
from tuner.export.provenance import head
from tuner.export.serving import (
    PROBE_S,
    SHARED_MEMORY_GIB,
    STOP_S,
    environment,
    folders,
    gpus,
    is_folder,
    is_identifier,
    startup_s,
    through_env,
)

_TOKEN_FILE = "hf.env"
#: Published at the user's address; in its container the server listens on all.
_INSIDE = "0.0.0.0"


def export_compose(chosen: Chosen) -> str:
    image, name = image_of(chosen.fingerprint), dns_label(chosen.study)
    document: Tree = {
        "name": name,
        "services": {"vllm": _service(chosen, image.name)},
        "volumes": {"cache": {}},
    }
    on_hub = not is_folder(chosen.trial.command.model)
    said = f"for a gated model: a line HF_TOKEN=... in {_TOKEN_FILE} beside this file" if on_hub else None
    how = "start: docker compose --file FILE up --detach --wait (2.24 or newer)"
    return head(chosen, image.note, how, said) + yaml_text([_escaped(document)])


def _service(chosen: Chosen, image: str) -> Tree:
    command = chosen.trial.command
    variables = environment(command)
    plain = {name: value for name, value in variables.items() if is_identifier(name)}
    odd = {name: value for name, value in variables.items() if name not in plain}
    runs = server(chosen, ("vllm", "serve"), ("--host", _INSIDE, "--port", str(chosen.port)))
    token: Tree = {"env_file": [{"path": _TOKEN_FILE, "required": False}]}
    devices = [{"driver": "nvidia", "count": gpus(chosen), "capabilities": ["gpu"]}]
    return {
        "image": image,
        "entrypoint": [*through_env(odd), *runs[:2]],
        "command": [*runs[2:]],
        **({} if is_folder(command.model) else token),
        **({"environment": plain} if plain else {}),
        "ports": [{"target": chosen.port, "published": str(chosen.port), "host_ip": _address(chosen.host)}],
        "volumes": [*_folders(chosen), {"type": "volume", "source": "cache", "target": CACHE_PATH}],
        "shm_size": f"{SHARED_MEMORY_GIB}gb",
        **({"deploy": {"resources": {"reservations": {"devices": devices}}}} if gpus(chosen) else {}),
        "healthcheck": _healthcheck(chosen),
        "stop_signal": "SIGTERM",
        "stop_grace_period": f"{STOP_S}s",
        "restart": "unless-stopped",
    }


def _folders(chosen: Chosen) -> list[Tree]:
    """A folder that is not there is an error: Compose would make an empty one."""
    options = {"read_only": True, "bind": {"create_host_path": False}}
    return [{"type": "bind", "source": path, "target": path, **options} for path in folders(chosen.trial.command)]


def _healthcheck(chosen: Chosen) -> Tree:
    program = (
        f"import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', {chosen.port}, timeout=5); "
        "c.request('GET', '/health'); sys.exit(c.getresponse().status != 200)"
    )
    return {
        "test": ["CMD", "python3", "-c", program],
        "interval": f"{PROBE_S}s",
        "timeout": f"{PROBE_S}s",
        "retries": 6,
        "start_period": f"{startup_s(chosen)}s",
    }


def _address(host: str) -> str:
    """Raises UsageError for a name: Compose publishes on addresses."""
    try:
        return str(ipaddress.ip_address("127.0.0.1" if host == "localhost" else host))
    except ValueError as error:
        raise UsageError(
            f"--host {host}: Docker Compose publishes a port on an address, such as 127.0.0.1 or 0.0.0.0"
        ) from error


def _escaped(tree: Tree) -> Tree:
    return {name: _all_escaped(value) for name, value in tree.items()}


def _all_escaped(value: object) -> object:
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {name: _all_escaped(part) for name, part in value.items()}
    return [_all_escaped(part) for part in value] if isinstance(value, list) else value
