"""A folder in, the process beneath engines that share a GPU out, and the variables with which they find it.

NVIDIA's multi-process service (https://docs.nvidia.com/deploy/mps) lets the kernels of several processes run on a GPU at once;
without it they take turns, and a GPU that is between two of one engine's kernels does nothing for another. It is a daemon that
starts a server when the first CUDA program of its folder comes. This knows nothing of vLLM.
"""

import asyncio
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from tuner.errors import LaunchError
from tuner.launch.interpreter import engine_environment
from tuner.launch.process import ProcessGroup
from tuner.types import Failed, FailureKind

CONTROL = "nvidia-cuda-mps-control"
#: Where CUDA programs look for a daemon, and where they do so unless this names another place.
_PIPES, _USUAL = "CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"
#: Where it and its server keep their logs; what it says here is said to its output, too.
_LOGS = "CUDA_MPS_LOG_DIRECTORY"
#: The cards that a CUDA program sees; of a daemon that is told numbers the clients' numbers are those of the cards it sees.
_VISIBLE = "CUDA_VISIBLE_DEVICES"
#: It listens within a hundredth of a second.
_START_S = 10.0
_POLL_S = 0.01


def is_there() -> bool:
    """Whether this host has the daemon's program, which comes with the driver, or a daemon that CUDA programs find."""
    return shutil.which(CONTROL) is not None or is_running(os.environ)


def is_running(environment: Mapping[str, str]) -> bool:
    """Whether CUDA programs with these variables find a daemon already, which is then for whoever started it to end."""
    place = Path(environment.get(_PIPES) or _USUAL) / "control"
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.connect(str(place))
        return True
    return False


def variables(folder: Path) -> dict[str, str]:
    """With which CUDA programs find the daemon of this folder."""
    return {_PIPES: str(folder), _LOGS: str(folder)}


async def start(folder: Path, environment: Mapping[str, str]) -> ProcessGroup:
    """A daemon that listens in `folder`, which is empty. Raises LaunchError where it does not."""
    began, argv = time.monotonic(), (shutil.which(CONTROL) or CONTROL, "-f")
    given = engine_environment({**environment, **variables(folder)})
    if not all(name.startswith("GPU-") for name in given.get(_VISIBLE, "GPU-").split(",")):
        del given[_VISIBLE]  # its clients would count anew, from those that it sees
    with tempfile.TemporaryFile() as output:  # the folder is gone when the daemon is
        try:
            group = ProcessGroup.spawn(argv, given, output, folder)
        except OSError as error:
            raise _failed(f"{CONTROL} cannot be started ({error.strerror})") from error
        try:
            while not (folder / "control").is_socket():
                if group.exit_code() is not None or time.monotonic() - began > _START_S:
                    raise _failed(f"{CONTROL} does not listen ({_last(output)})")
                await asyncio.sleep(_POLL_S)
        except BaseException:
            await group.stop(0.0)
            raise
    return group


def _last(output: IO[bytes]) -> str:
    output.seek(0)
    lines = output.read().decode(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it says nothing")


def _failed(message: str) -> LaunchError:
    advice = "`--mps off` starts engines that share a GPU without it"
    return LaunchError(Failed(kind=FailureKind.HOST, message=f"{message}: {advice}"))
