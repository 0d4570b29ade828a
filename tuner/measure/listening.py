"""A port of this machine in; the processes of the vLLM that listens there out. Knows nothing of what they serve.

Found by the socket and never by name: other servers may run beside it. What belongs to another user, or runs in a container
whose ports something else forwards, is not seen.
"""

from pathlib import Path

import psutil

from tuner.measure.roles import Role, role_of


def server_pids(port: int) -> tuple[int, ...]:
    """The processes from which all of the server's descend; none where they cannot be seen, or are no vLLM's."""
    found = {}
    for pid in {pid for _, pid in sockets(port) if pid is not None}:
        try:
            process = psutil.Process(pid)
            one_of_several = role_of(pid) is Role.API_SERVER  # their parent has all
            top = (process.parent() if one_of_several else None) or process
            found[top.pid] = [top, *top.children(recursive=True)]
        except psutil.Error:
            continue
    return tuple(pid for pid, processes in found.items() if any(map(_is_vllm, processes)))


def sockets(port: int) -> list[tuple[str, int | None]]:
    """Where somebody listens on this port, and which process that is, None where that is hidden; empty where nobody is seen."""
    try:
        found = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return []
    up = [(tuple(one.laddr), one.pid) for one in found if one.status == psutil.CONN_LISTEN]
    return [(str(address[0]), pid) for address, pid in up if address[1:] == (port,)]


def _is_vllm(process: psutil.Process) -> bool:
    """By its title, or because it runs vLLM's script or a module of it: a path that happens to hold the word is none."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    started = any(Path(word).name == "vllm" or word.startswith("vllm.") for word in words[:4])
    return started or role_of(process.pid) is not Role.OTHER
