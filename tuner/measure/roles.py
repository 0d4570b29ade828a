"""The processes of a vLLM server in; which part each has out. It reads titles, and no processor time.

vLLM gives its processes titles (set_process_title in vllm/utils/system_utils.py): "VLLM::EngineCore", "VLLM::EngineCore_DP1",
"VLLM::Worker_TP0", "VLLM::APIServer_1", with a prefix that VLLM_PROCESS_NAME_PREFIX changes. A single API server is the
process of `vllm serve` itself, which keeps its title: of the processes without one it is the busiest. With
VLLM_ENABLE_V1_MULTIPROCESSING=0 it is EngineCore, too, and the only one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeVar

import psutil

#: The kernel keeps so much of a name: "VLLM::EngineCor".
_TITLE = re.compile(r"^[^\s/]{0,64}::(EngineCor|Worker|APIServer|ApiServer)")
Key = TypeVar("Key")


class Role(Enum):
    """What a process of a server does; OTHER is all that has no title of vLLM's."""

    ENGINE_CORE = auto()
    API_SERVER = auto()
    WORKER = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class ByRole:
    """Mean cores, as in Cores."""

    engine_core: float | None
    api_server_max: float | None
    api_servers: int | None
    worker_max: float | None


_ROLES = {
    "EngineCor": Role.ENGINE_CORE,
    "Worker": Role.WORKER,
    "APIServer": Role.API_SERVER,
    "ApiServer": Role.API_SERVER,
}


def role_of(pid: int) -> Role:
    """OTHER where it has no title of vLLM's, or cannot be read."""
    try:
        process = psutil.Process(pid)
        titles = (next(iter(process.cmdline()), ""), process.name())
    except psutil.Error:
        return Role.OTHER
    return next((role for title in titles if (role := titled(title)) is not Role.OTHER), Role.OTHER)


def titled(title: str) -> Role:
    """The part that a title names."""
    found = _TITLE.match(title)
    return _ROLES[found[1]] if found else Role.OTHER


def by_role(processes: Mapping[Key, tuple[Role, float]]) -> ByRole:
    """Of each process its part and its mean cores."""

    def of(role: Role) -> list[float]:
        return [cores for part, cores in processes.values() if part is role]

    engines, workers, others = of(Role.ENGINE_CORE), of(Role.WORKER), of(Role.OTHER)
    servers = of(Role.API_SERVER) or ([max(others)] if others else [])
    return ByRole(
        engine_core=max(engines, default=None),
        api_server_max=max(servers, default=None),
        api_servers=len(servers) or None,
        worker_max=max(workers, default=None),
    )
