"""The server of a trial in; the one program that runs it, out. Pure.

Where several engines share each GPU that is a bash, which starts them all at once, over NVIDIA's multi-process service where
they were measured so. Asked to end, it ends them all, then itself with 0; once any of them has ended it ends the others, and
fails, so that whatever runs it starts the whole anew. What does not end in time it kills.
"""

import shlex
from collections.abc import Sequence

from tuner.errors import UsageError
from tuner.export.chosen import Chosen
from tuner.export.serving import STOP_S, headless_arguments, launched_arguments

Words = tuple[str, ...]

#: The line ends may be blanks, as they are in a comment. What is beneath the engines (`m`, in folder `d`) ends after them.
_BEFORE = f"""\
m=; d=;
end() {{ trap "" TERM INT HUP; kill $@ 2>/dev/null;
for s in {{1..{STOP_S}}}; do kill -0 $@ 2>/dev/null || break; sleep 1; done;
kill -9 $@ 2>/dev/null; [ -z "$m" ] || kill $m 2>/dev/null; wait; [ -z "$d" ] || rm -rf "$d"; }};
trap 'end $@' EXIT; trap "exit 0" TERM INT HUP;
"""
#: With the status of what ends, which is no success. `wait -n` does not see what has ended before it.
_AFTER = (
    "while sleep 1; do for p in $@ $m; do kill -0 $p 2>/dev/null || { wait $p; exit $(($? ? $? : 1)); }; done; done"
)
#: A daemon that is there already serves these engines, too.
_MPS = """\
c=nvidia-cuda-mps-control;
if ! command -v $c >/dev/null; then
echo "$c is not here: the engines take turns on the GPU, and are slower than they were measured" >&2;
elif ! echo get_server_list | timeout -s KILL 5 $c >/dev/null 2>&1; then
d=$(mktemp -d); export CUDA_MPS_PIPE_DIRECTORY=$d CUDA_MPS_LOG_DIRECTORY=$d;
env -u CUDA_VISIBLE_DEVICES $c -f >/dev/null 2>&1 & m=$!;
for s in {1..50}; do [ -S $d/control ] && break; sleep 0.1; done;
if ! [ -S $d/control ]; then kill -9 $m 2>/dev/null; m=; unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY;
echo "$c does not listen: the engines take turns on the GPU, and are slower than they were measured" >&2; fi; fi;
"""
_WHOLE = "command, compose, systemd, kubernetes or llm-d"


def server(chosen: Chosen, program: Words, address: Words) -> Words:
    """What runs `program`, as `vllm serve`, for each of the engines; the first serves for all, at `address`."""
    first = (*program, *launched_arguments(chosen), *address)
    headless = [(*program, *words) for words in headless_arguments(chosen)]
    return together(first, headless, mps=chosen.fingerprint.mps)


def together(first: Words, headless: Sequence[Words], *, mps: bool = False) -> Words:
    """What runs these commands; the first itself where there are no others. With `mps` NVIDIA's multi-process service is
    beneath them, where it is there."""
    if not headless:
        return first
    started = "".join(f'{shlex.join(words)} & set -- "$@" $!;\n' for words in (*headless, first))
    return "bash", "-c", f"{_BEFORE}{_MPS if mps else ''}{started}{_AFTER}"


def check_one_process(chosen: Chosen, what: str) -> None:
    """Raises UsageError where several engines share each GPU, for `what`, which starts one process."""
    trial = chosen.trial
    if (engines := trial.command.engines_per_gpu) > 1:
        raise UsageError(
            f"{what} starts one process, and trial {trial.number} has {engines} engines on each GPU, each a process of its "
            f"own: use --format {_WHOLE}"
        )
