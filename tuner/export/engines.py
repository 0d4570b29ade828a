"""The server of a trial in; the one program that runs it, out. Pure.

Where several engines share each GPU that is a bash, which starts them all at once. Asked to end, it ends them all, and then
itself with 0; once any of them has ended it ends the others, and fails, so that whatever runs it starts the whole anew. What
does not end in time it kills.
"""

import shlex
from collections.abc import Sequence

from tuner.errors import UsageError
from tuner.export.chosen import Chosen
from tuner.export.serving import STOP_S, headless_arguments, launched_arguments

Words = tuple[str, ...]

#: The line ends may be blanks, as they are in a comment.
_BEFORE = f"""\
end() {{ trap "" TERM INT HUP; kill $(jobs -p) 2>/dev/null;
for s in {{1..{STOP_S}}}; do [ "$(jobs -pr)" ] || return; sleep 1; done;
kill -9 $(jobs -p) 2>/dev/null; wait; }};
trap end EXIT; trap "exit 0" TERM INT HUP;
"""
#: With the status of what ends, which is no success. `wait -n` does not see what has ended before it.
_AFTER = "while sleep 1; do for p; do kill -0 $p 2>/dev/null || { wait $p; exit $(($? ? $? : 1)); }; done; done"
_WHOLE = "command, compose, systemd, kubernetes or llm-d"


def server(chosen: Chosen, program: Words, address: Words) -> Words:
    """What runs `program`, as `vllm serve`, for each of the engines; the first serves for all, at `address`."""
    first = (*program, *launched_arguments(chosen), *address)
    return together(first, [(*program, *words) for words in headless_arguments(chosen)])


def together(first: Words, headless: Sequence[Words]) -> Words:
    """What runs these commands; the first itself where there are no others."""
    if not headless:
        return first
    started = "".join(f'{shlex.join(words)} & set -- "$@" $!;\n' for words in (*headless, first))
    return "bash", "-c", f"{_BEFORE}{started}{_AFTER}"


def check_one_process(chosen: Chosen, what: str) -> None:
    """Raises UsageError where several engines share each GPU, for `what`, which starts one process."""
    trial = chosen.trial
    if (engines := trial.command.engines_per_gpu) > 1:
        raise UsageError(
            f"{what} starts one process, and trial {trial.number} has {engines} engines on each GPU, each a process of its "
            f"own: use --format {_WHOLE}"
        )
