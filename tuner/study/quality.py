"""The options of a study in; what is asked of a launched server to see that its answers are unharmed, and when, out.

The defaults and each finalist whose settings can change answers are asked in their first two launches, after the load, while
the server is up. It does not judge: see tuner/decide/harm.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from tuner.errors import UsageError
from tuner.load.probing import probe
from tuner.load.questions import Questions, read_questions
from tuner.space.answers import changes_answers, changing, reason
from tuner.space.redaction import redacted
from tuner.space.search_space import SearchSpace
from tuner.study.options import Options
from tuner.study.quality_command import run_quality_command
from tuner.types import Endpoint, Params, Trial
from tuner.types.quality import Quality

#: The second one says how far launches of the same settings differ; more would say nothing new.
PROBED_LAUNCHES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What is asked. `is_asked_for` where the user gave questions or a command: then every finalist is asked."""

    questions: Questions
    command: str | None = None
    timeout_s: float = 600.0
    is_asked_for: bool = False

    def is_due(self, trial: Trial, finalists: Sequence[Trial], usual: Params, launches: int) -> bool:
        """Whether the next launch of `trial`, which had so many, is probed; the defaults are where any of the finalists is."""
        concerned = finalists if trial.is_default else [trial]
        return launches < PROBED_LAUNCHES and (
            self.is_asked_for or any(changes_answers(one.params, usual) for one in concerned)
        )

    async def ask(self, endpoint: Endpoint, tell: Callable[[str], None]) -> Quality:
        """Of a server that is up, and stays so meanwhile."""
        tell("checking the answers")
        found = await probe(endpoint, self.questions)
        found = replace(found, untold=tuple(map(redacted, found.untold)))
        if self.command is None:
            return found
        tell("running --quality-cmd")
        log = endpoint.log.with_name(f"{endpoint.log.stem}-quality.log")
        task = await run_quality_command(self.command, endpoint, self.timeout_s, log)
        if isinstance(task, str):
            return replace(found, untold=(*found.untold, task))
        return replace(found, task=task)


def guard_of(options: Options) -> Guard:
    """Raises UsageError for a file that cannot be read."""
    path = options.quality_data
    return Guard(
        questions=read_questions(None if path is None else path.expanduser()),
        command=options.quality_cmd,
        timeout_s=options.quality_timeout,
        is_asked_for=path is not None or options.quality_cmd is not None,
    )


def check_quality(options: Options) -> None:
    """What is wrong with the options of the quality guard. Raises UsageError."""
    if not (isfinite(options.max_quality_loss) and 0 <= options.max_quality_loss < 1):
        raise UsageError(
            f"--max-quality-loss is {options.max_quality_loss:g} and must be a share of the NLL, 0 to below 1"
        )
    if not 0 < options.quality_timeout < 86400:
        raise UsageError(
            f"--quality-timeout is {options.quality_timeout:g} and must be a number of seconds, below a day"
        )
    if options.quality_cmd is not None and not options.quality_cmd.strip():
        raise UsageError("--quality-cmd is empty: give a command, or leave it out")
    if options.lossless and options.quantized_model:
        raise UsageError(
            "--quantized-model is a model with other answers, and --lossless takes none: leave one of them out"
        )


def lossless(space: SearchSpace) -> SearchSpace:
    """The space without what can change answers. Raises UsageError where nothing is left."""
    smaller = space.without(frozenset(changing(space.parameters)))
    if not smaller.parameters:
        raise UsageError(
            f"--lossless: every parameter of {space.name} that is open can change answers: open other --groups"
        )
    groups = {one.group for one in smaller.parameters.values()}
    return smaller.model_copy(update={"groups": {name: g for name, g in space.groups.items() if name in groups}})


def lossless_sentence(before: SearchSpace) -> str:
    """What was left at the defaults."""
    names = changing(before.parameters)
    if not names:
        return "--lossless: nothing that is open can change answers"
    example = f"e.g. {names[0]}: {reason(names[0])}"
    return f"--lossless: at vLLM's defaults, because they can change answers: {', '.join(names)} ({example})"
