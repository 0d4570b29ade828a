"""How a server is launched in; what holds it back, and the two sides that prove or refute the first remedy of that, out.

The present settings are launched and measured once for the diagnosis, unless a running server was diagnosed. Then they and the
remedy are to be measured in turn, in pairs: the launch that led to the diagnosis is none of these, so that its bad luck is not
counted as the remedy's gain.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from tuner import interrupts
from tuner.bench.comparison import Side, Tell
from tuner.bench.diagnosing import Seen, seen_of
from tuner.bench.server_spec import Source
from tuner.bench.sides import Conditions, launched_side
from tuner.decide.confidence import LEAST_PAIRS, Difference, Paired
from tuner.decide.objective import Objective
from tuner.diagnose.diagnosis import Remedy
from tuner.errors import LaunchError, RunError, UsageError
from tuner.launch.fork_server import ForkServer
from tuner.launch.interpreter import find_python
from tuner.measure.gpu import detect
from tuner.predict.settings import version_of
from tuner.space.engines import ENGINES
from tuner.space.parameters import Categorical, Parameter, meant
from tuner.space.search_space import ALL
from tuner.study.options import Options
from tuner.study.setup import choose_space, vllm_launcher
from tuner.study.shared_gpus import engines_space, shared_gpu
from tuner.types import Failed, Params, Value

#: A range without a step and without a logarithm is gone through in so many.
_STEPS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """`remedy` of `seen`'s first finding is tried: its setting is at `before` on the present side (None: at a default of vLLM
    that is not known), at `after` on the other."""

    seen: Seen
    remedy: Remedy
    before: Value | None
    after: Value
    present: Side
    remedied: Side


def proof(options: Options, conditions: Conditions, running: Seen | None, salt: int, tell: Tell) -> Proof:
    """`options` say how the server is launched: model, GPU, engine arguments. `running` is the diagnosis of a server that runs;
    without one the present settings are launched and diagnosed. Raises UsageError where vLLM refuses them, or where no remedy
    can be tried; RunError where the launch fails."""
    detected = detect()
    space, python = choose_space(options, detected), find_python(options.vllm_python)
    open_space = choose_space(replace(options, engine_arg=(), max_model_len=None, groups=ALL), detected)
    folder = options.log_dir.absolute() / f"diagnose-{datetime.now():%Y%m%d-%H%M%S}"
    tell(f"importing vLLM with {python}")
    with ForkServer(python, space.environment) as engine:
        space, open_space = (
            engines_space(one, options, version_of(engine.info.version)) for one in (space, open_space)
        )
        shared = shared_gpu(open_space.model_copy(update={"fixed": space.fixed}), options)
        launcher = replace(vllm_launcher(options, space, python), shared_gpu=shared).of_version(engine.info.version)

        def side(name: str, changes: Params) -> Side:
            flags, settings = launcher.arguments(changes)[1:], launcher.command(changes).settings
            source = Source(options=options, space=space, environment=space.environment, flags=flags, settings=settings)
            return launched_side(name, source, conditions, engine, python, folder / name.partition(" ")[0])

        def resolved(changes: Params) -> Params | None:
            found = engine.resolve(launcher.arguments(changes))
            return None if isinstance(found, Failed) else found.settings

        present = side("present settings", {})
        settings = resolved({}) or {}
        seen = running or _diagnosed(present, settings, conditions, salt, tell)
        for remedy in seen.diagnosis.first.remedies:
            if remedy.name == ENGINES and ENGINES not in open_space.parameters:
                continue  # they cannot share a GPU
            before = settings.get(remedy.name)
            after = next_of(remedy, before, open_space.parameters.get(remedy.name))
            if after is None or after == before:
                continue
            if (became := resolved({remedy.name: after})) is not None and became != settings:
                named = side(f"remedied {remedy.name}={after}", {remedy.name: after})
                return Proof(seen=seen, remedy=remedy, before=before, after=after, present=present, remedied=named)
    raise UsageError(
        f"the verdict is {seen.diagnosis.first.cause}, and no remedy of it can be tried here: what can be changed is"
        f" {', '.join(one.name for one in seen.diagnosis.first.remedies) or 'nothing'}"
    )


def next_of(remedy: Remedy, current: Value | None, parameter: Parameter | None) -> Value | None:
    """The remedy's own value, else one step in its direction inside the search space; None where there is none."""
    if remedy.value is not None:
        return remedy.value
    if parameter is None or isinstance(current, bool | str | None) or remedy.direction == "set":
        return None
    up = remedy.direction == "raise"
    if isinstance(parameter, Categorical):
        numbers = sorted(one for one in parameter.choices if not isinstance(one, bool | str))
        further = [one for one in numbers if (one > current if up else one < current)]
        return (further[0] if up else further[-1]) if further else None
    if parameter.log:
        wanted: float = current * 2 if up else current / 2
    else:
        step = parameter.step or (parameter.high - parameter.low) / _STEPS
        wanted = current + step if up else current - step
    return meant(parameter, wanted, current)


def proved(found: Proof, paired: Paired | None, objective: Objective) -> str:
    """Whether the remedy did what was said, in a sentence."""
    before = "vLLM's default" if found.before is None else found.before
    begins = f"the remedy for {found.seen.diagnosis.first.cause}, {found.remedy.name} from {before} to {found.after}"
    if paired is None:
        return f"{begins}, is not proved: {objective.metric} is not known in pairs of launches"
    pairs = f"{paired.pairs} {'pair' if paired.pairs == 1 else 'pairs'}"
    if paired.low is None or paired.high is None or not paired.can_decide:
        return (
            f"{begins}, is not proved: {objective.metric} {paired.effect:+.1%} in {pairs}, and at least {LEAST_PAIRS} are"
            " needed (--repeats)"
        )
    numbers = (
        f"{objective.metric} {paired.effect:+.1%}, 95% interval {paired.low:+.1%} to {paired.high:+.1%}, "
        f"p {paired.p_value:.2g}, {pairs}"
    )
    verdict = paired.verdict(objective.maximize)
    held = {
        Difference.FASTER: "does what was said",
        Difference.SLOWER: "makes it worse",
        Difference.NONE: "brings nothing that can be told",
    }[verdict]
    return f"{begins}, {held}: {numbers}{_beside(found.remedy, paired, objective)}"


def _beside(remedy: Remedy, paired: Paired, objective: Objective) -> str:
    """What was predicted, beside what came. A gain of 0.1 of a latency is 10 % less of it."""
    if remedy.gain is None or paired.low is None or paired.high is None:
        return "; how much was not predicted"
    effect = remedy.gain if objective.maximize else -remedy.gain
    where = "inside" if paired.low <= effect <= paired.high else "outside"
    return f"; predicted was {effect:+.1%}, {where} the interval"


def _diagnosed(side: Side, settings: Params, conditions: Conditions, salt: int, tell: Tell) -> Seen:
    tell("the present settings, for the diagnosis")
    try:
        measured = interrupts.run(side.measure(salt, tell))
    except LaunchError as error:
        raise RunError(f"the present settings failed: {error.failed.kind.value}: {error.failed.message}") from error
    return seen_of(side.name, [side.model], measured, settings, conditions.workload, detect(), [])
