"""An approved proposal and an operator's own commands in; the new config on ONE replica, kept or taken back, out.

The user's command deploys it, /metrics says how it does, and the user's other command takes it back: where the deployment
fails, the server does not come up, an SLO is missed, it falls behind the others or itself before, or tuner is interrupted.
Each step is in the audit log before the next one begins, so what a killed tuner left is seen and taken back by the next. It
never touches another replica, and no command comes from anywhere but the operator's own command line.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tuner.decide.canary import Judged, Limit, behind, verdict
from tuner.decide.canary import Slice as CanarySlice
from tuner.decide.slo import Slo
from tuner.errors import RunError, TunerError, UsageError
from tuner.measure.served import Served, quantile
from tuner.record.proposals import Proposals, State, StoredProposal
from tuner.record.store import Store
from tuner.retune.commands import Ran, end_left, run_command
from tuner.retune.proposals import is_unfinished, step
from tuner.retune.served_slices import parts, served
from tuner.study.lease import me

_SLICES = 12
_POLL_S = 1.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What an operator wants: his commands, the canary's /metrics and those of the others, how long it is watched, its SLOs,
    and the file that the config is in."""

    by: str
    canary_cmd: str
    revert_cmd: str
    url: str
    others: tuple[str, ...]
    watch_s: float
    slos: tuple[Slo, ...]
    config: Path
    command_timeout_s: float = 600.0
    health_timeout_s: float = 900.0
    tolerance: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What became of a canary, in a sentence, and the figures that it was judged by."""

    state: State
    why: str
    figures: tuple[str, ...] = ()


class _Broken(Exception):
    """The canary is not to be kept; its text is the reason. `by_command` where an operator's command failed."""

    def __init__(self, why: str, *, by_command: bool = False) -> None:
        super().__init__(why)
        self.by_command = by_command


def run_canary(store: Store, proposal: StoredProposal, order: Order, tell: Tell) -> Ended:
    """Raises RunError where the proposal may not be tried now, KeyboardInterrupt after it was taken back."""
    book = Proposals(store)
    before = () if order.others else _before(order, tell)
    if running := [one for one in book.listed(State.CANARY) if set(one.urls) & set(proposal.urls)]:
        raise RunError(f"a canary of the same servers is under way: see proposal {running[0].number}")
    old = _maybe(order.url)
    why = f"canary on {order.url}, watched for {order.watch_s:.0f} s"
    book.begin_canary(proposal.number, me(), order.url, step(proposal.number, order.by, "canary", why))
    try:
        judged = _tried(proposal, order, before, old, tell)
    except _Broken as broken:
        return _taken_back(book, proposal, order, str(broken), tell, failed=broken.by_command)
    except BaseException as error:
        reason = "tuner was interrupted" if isinstance(error, KeyboardInterrupt) else f"tuner failed: {_line(error)}"
        ended = _taken_back(book, proposal, order, reason, tell, failed=not isinstance(error, KeyboardInterrupt))
        tell(ended.why)
        raise
    if not judged.stays:
        return _taken_back(book, proposal, order, "; ".join(judged.against), tell, figures=judged.beside)
    why = "as good as it has to be: " + ", ".join(judged.beside)
    book.move(proposal.number, State.DEPLOYED, step(proposal.number, order.by, "kept on the canary", why))
    return Ended(state=State.DEPLOYED, why=why, figures=judged.beside)


def finish_unfinished(
    store: Store, revert_cmd: str | None, by: str, tell: Tell, timeout_s: float = 600.0
) -> list[Ended]:
    """Take back what killed tuners left on canaries. Raises RunError, which says how, where there is no command for it."""
    book, found = Proposals(store), []
    for left in book.listed(State.CANARY):
        if not is_unfinished(left):
            continue
        if revert_cmd is None:
            raise RunError(
                f"the tuner that ran the canary of proposal {left.number} on {left.canary_url} was killed, and the new"
                " config is still there: give --revert-cmd, which takes it back, or take it back by hand and run"
                f" `tuner reject {left.number}`"
            )
        if end_left(_told(left)):
            tell(f"--canary-cmd of proposal {left.number} was still running, and is killed")
        order = Order(
            by=by, canary_cmd="", revert_cmd=revert_cmd, url=left.canary_url or "", others=(), watch_s=0.0, slos=(),
            config=Path(), command_timeout_s=timeout_s,
        )  # fmt: skip
        found.append(_taken_back(book, left, order, "the tuner that ran it was killed", tell))
    return found


def _tried(
    proposal: StoredProposal, order: Order, before: Sequence[CanarySlice], old: Served | None, tell: Tell
) -> Judged:
    tell(f"deploying on {order.url}: --canary-cmd runs")
    ran = run_command(order.canary_cmd, _variables(proposal, order), order.command_timeout_s)
    if not ran.worked:
        raise _Broken(ran.sentence("--canary-cmd"), by_command=True)
    tell(f"--canary-cmd is done after {ran.took_s:.0f} s; waiting until {order.url} serves")
    _healthy(order, old)
    tell(f"it serves: watched for {order.watch_s:.0f} s")
    return _watched(order, before, tell)


def _healthy(order: Order, old: Served | None) -> None:
    """Raises _Broken for a server that does not come up, or that was never started anew."""
    end = time.monotonic() + order.health_timeout_s
    while True:
        trouble = "it is the old process: its counters went on"
        with suppress(TunerError):
            now = served(order.url)
            if old is None or not old.finished or now.is_restarted(old):
                return
        if time.monotonic() > end:
            break
        time.sleep(min(_POLL_S, order.health_timeout_s / 10))
    try:
        served(order.url)
    except TunerError as error:
        trouble = str(error)
    raise _Broken(f"it did not come up within {order.health_timeout_s:.0f} s: {trouble}")


def _before(order: Order, tell: Tell) -> tuple[CanarySlice, ...]:
    tell(f"no other replica to compare with (--replica): {order.url} is watched as it is, for {order.watch_s:.0f} s")
    try:
        seen = [part.slice for part in parts(order.url, (), order.watch_s, _SLICES)]
    except TunerError as error:
        tell(f"it cannot be read, so there is nothing to compare with but the SLOs: {error}")
        return ()
    return tuple(slice for slice in seen if slice is not None)


def _watched(order: Order, before: Sequence[CanarySlice], tell: Tell) -> Judged:
    ours: list[CanarySlice] = []
    others: list[CanarySlice] = []
    paired = bool(order.others)
    whole: Served | None = None
    by_slo = [_latency(slo) for slo in order.slos]
    try:
        for part in parts(order.url, order.others, order.watch_s, _SLICES):
            whole = part.whole
            if part.slice is not None and (part.beside is not None or not paired):
                ours.append(part.slice)
                others += [part.beside] if part.beside is not None else []
            early = behind(
                ours, others if paired else before,
                paired=paired, judged_by_slo=by_slo, tolerance=order.tolerance, looks=_SLICES,
            )  # fmt: skip
            if not early.stays:
                return early
    except TunerError as error:
        raise _Broken(str(error)) from error
    assert whole is not None
    return verdict(
        ours, others if paired else before, [_limit(slo, whole) for slo in order.slos],
        paired=paired, tolerance=order.tolerance, looks=_SLICES,
    )  # fmt: skip


def _taken_back(
    book: Proposals,
    proposal: StoredProposal,
    order: Order,
    why: str,
    tell: Tell,
    *,
    failed: bool = False,
    figures: tuple[str, ...] = (),
) -> Ended:
    """Run the revert command and note it, whatever signal comes meanwhile."""
    with _undisturbed(tell):
        tell(f"{why}: --revert-cmd runs")
        book.note(step(proposal.number, order.by, "reverting", why))
        try:
            ran = run_command(order.revert_cmd, _variables(proposal, order), order.command_timeout_s)
        except OSError as error:
            ran = Ran(exit_code=127, said=str(error), took_s=0.0)
        if not ran.worked:
            said = f"{why}; and {ran.sentence('--revert-cmd')}"
            what = f"{said}. The new config may still run on {order.url}: take it back by hand"
            book.move(proposal.number, State.FAILED, step(proposal.number, order.by, "revert failed", said))
            return Ended(state=State.FAILED, why=what, figures=figures)
        state = State.FAILED if failed else State.REVERTED
        book.move(proposal.number, state, step(proposal.number, order.by, "reverted", why))
    end = "the old config is back" + (": mend --canary-cmd, and approve it again" if failed else "")
    return Ended(state=state, why=f"{why}; {end}", figures=figures)


@contextmanager
def _undisturbed(tell: Tell) -> Iterator[None]:
    """Signals that would end tuner are answered, and wait: a canary half taken back is worse than either. In another thread
    than the main one none arrives."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    old = {
        number: signal.signal(number, lambda *_: tell("the old config is being put back: this is waited for"))
        for number in numbers
    }
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _limit(slo: Slo, whole: Served) -> Limit:
    latency, statistic = _latency(slo), slo.metric.split("_")[1]
    observed = whole.latencies.get(latency)
    seen = None
    if observed is not None and observed.count > 0:
        seen = observed.mean if statistic == "mean" else quantile(observed, float(statistic[1:]) / 100)
    return Limit(name=slo.name, latency=latency, limit_s=slo.limit_s, seen_s=seen)


def _latency(slo: Slo) -> str:
    return slo.metric.split("_")[0]


def _variables(proposal: StoredProposal, order: Order) -> dict[str, str]:
    """What the commands are told; a name of its own, for TUNER_CONFIG is tuner's."""
    return {
        **_told(proposal),
        "TUNER_PROPOSAL_CONFIG": str(order.config.absolute()),
        "TUNER_CANARY_URL": order.url.removesuffix("/metrics"),
    }


def _told(proposal: StoredProposal) -> dict[str, str]:
    """By what a command of this proposal is known, among those of all databases."""
    return {"TUNER_PROPOSAL": str(proposal.number), "TUNER_PROPOSAL_STUDY": proposal.study_after}


def _maybe(url: str) -> Served | None:
    with suppress(TunerError):
        return served(url)
    return None


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def check_order(order: Order) -> None:
    """Raises UsageError for what cannot be meant."""
    if order.url in order.others:
        raise UsageError(f"--replica {order.url} is the canary itself: name the others")
    if not order.canary_cmd.strip() or not order.revert_cmd.strip():
        raise UsageError("--canary-cmd and --revert-cmd must both say something: what is deployed must be taken back")
