"""`tuner proposals`, `tuner approve` and `tuner reject`: what was proposed, and what a person does about it."""

import getpass
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tuner.cli.console import check_writable, errors, plain, results, say, write_file, write_json
from tuner.cli.retune_json import proposal_json, proposals_json
from tuner.cli.tables import prose
from tuner.cli.tables import show as show_table
from tuner.cli.workload import parse_duration
from tuner.decide.slo import parse_slos
from tuner.errors import RunError, UsageError, choose
from tuner.export.vllm_yaml import export_yaml
from tuner.interrupts import heed_signals, interrupted_code
from tuner.measure.production import metrics_url
from tuner.record.proposals import State, StoredProposal
from tuner.record.store import Store
from tuner.retune import proposals as retune
from tuner.retune.canary import Order, check_order, finish_unfinished, run_canary
from tuner.retune.differences import diff_lines
from tuner.study.decided import slo_texts
from tuner.study.exporting import chosen_of

_KEYS = ("canary_cmd", "revert_cmd", "canary_url", "replica", "watch", "slo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """The options of a canary, as they are typed or stand in the operator's file."""

    canary_cmd: str | None
    revert_cmd: str | None
    canary_url: str | None
    replica: Sequence[str]
    watch: str | None
    slo: Sequence[str]
    command_timeout: str
    health_timeout: str
    export: Path | None


def show(number: int | None, storage: str, state: str | None, json: str | None) -> None:
    """All proposals, or one with its log."""
    if state is not None and state not in {known.value for known in State}:
        raise UsageError(f"unknown --state {state!r}{choose(state, [known.value for known in State])}")
    store = Store.open(storage, read_only=True)
    console = errors if json == "-" else results
    try:
        if number is not None:
            found, log = retune.get(store, number), retune.log(store, number)
            write_json(json, proposal_json(found, log))
            _show_one(found, console)
            for step in log:
                prose(console, plain(f"{step.at:%Y-%m-%d %H:%M:%S} UTC  {step.who}: {step.what}: {step.why}"), "  ")
            return
        states = () if state is None else (State(state),)
        many = retune.listed(store, *states)
        write_json(json, proposals_json(many))
        table = Table(box=None, header_style="bold", pad_edge=False)
        for header in ("#", "state", "server", "tuned for", "new study", "gain", "since"):
            table.add_column(header)
        for one in many:
            gain = "-" if one.gain is None else f"{one.gain:+.1%}"
            server = one.urls[0].removesuffix("/metrics") + (
                f" and {len(one.urls) - 1} more" if len(one.urls) > 1 else ""
            )
            cells = (
                one.state.value,
                server,
                one.study_before,
                one.study_after,
                gain,
                f"{one.changed_at:%Y-%m-%d %H:%M} UTC",
            )
            table.add_row(str(one.number), *(escape(plain(cell)) for cell in cells))
        if many:
            show_table(console, table)
        else:
            say(console, "no proposals: `tuner watch URL --study STUDY --then queue` makes them")
    finally:
        store.close()


def reject(number: int, by: str | None, why: str, storage: str) -> None:
    """Note that a proposal is not wanted."""
    store = _opened(storage)
    try:
        retune.reject(store, number, by=by or _me(), why=why)
        say(errors, f"proposal {number} is rejected")
    finally:
        store.close()


def approve(number: int, by: str | None, why: str | None, storage: str, canary: Canary, config: Path | None) -> None:
    """Note that a person agrees; with the operator's commands, try the new config on one replica."""
    heed_signals()
    signal.signal(
        signal.SIGHUP, signal.getsignal(signal.SIGTERM)
    )  # a terminal that is closed, too, takes the canary back
    canary = _with_file(canary, config)
    who = by or _me()
    store = _opened(storage)
    try:
        if _left_behind(store, number, canary, who):
            raise typer.Exit(1)
        proposal = retune.get(store, number)
        order = _order(store, proposal, canary, who)
        if why is None:
            raise UsageError("--why is missing: say why it is approved, for the log")
        retune.approve(store, number, by=who, why=why)
        say(errors, f"proposal {number} is approved")
        if order is None:
            say(errors, "nothing is deployed: --canary-cmd, --revert-cmd and --canary-url try it on one replica")
            return
        _run(store, proposal, order)
    finally:
        store.close()


def _run(store: Store, proposal: StoredProposal, order: Order) -> None:
    write_file("--export", order.config, _config(store, proposal, order.url))
    say(errors, f"{order.config}: what to deploy, for `vllm serve --config`")
    try:
        ended = run_canary(store, proposal, order, lambda text: say(errors, text))
    except KeyboardInterrupt:
        raise typer.Exit(interrupted_code()) from None
    for figure in ended.figures:
        say(results, f"  {figure}")
    if ended.state is State.DEPLOYED:
        prose(results, f"The canary is kept: {ended.why}. All other replicas are yours to change, with {order.config}.")
        return
    raise RunError(f"the canary is {ended.state.value}: {ended.why}")


def _left_behind(store: Store, number: int, canary: Canary, who: str) -> bool:
    """Whether a canary that a killed tuner left was taken back, which is all that this command then does."""
    timeout_s = parse_duration(canary.command_timeout, "--command-timeout")
    ended = finish_unfinished(store, canary.revert_cmd, who, lambda text: say(errors, text), timeout_s)
    for one in ended:
        say(errors, f"an unfinished canary is {one.state.value}: {one.why}")
    if ended:
        say(errors, f"proposal {number} is not tried in the same breath: look at the replica, and run this again")
    return bool(ended)


def _order(store: Store, proposal: StoredProposal, canary: Canary, who: str) -> Order | None:
    """None where nothing is to be deployed."""
    parts = {"--canary-cmd": canary.canary_cmd, "--revert-cmd": canary.revert_cmd, "--canary-url": canary.canary_url}
    missing = [name for name, value in parts.items() if value is None]
    if len(missing) == len(parts):
        return None
    if missing or canary.canary_cmd is None or canary.revert_cmd is None or canary.canary_url is None:
        raise UsageError(f"{' and '.join(missing)} missing: a canary needs all of {', '.join(parts)}")
    url = metrics_url(canary.canary_url)
    others = tuple(metrics_url(one) for one in canary.replica) or tuple(one for one in proposal.urls if one != url)
    if proposal.trial is None:
        raise RunError(f"proposal {proposal.number} is {proposal.state.value}: its study has decided nothing to deploy")
    slos = parse_slos(tuple(canary.slo) or tuple(slo_texts(store.study(proposal.study_after))))
    config = canary.export or Path(f"proposal-{proposal.number}.yaml")
    check_writable("--export", config)
    order = Order(
        by=who,
        canary_cmd=canary.canary_cmd,
        revert_cmd=canary.revert_cmd,
        url=url,
        others=others,
        watch_s=parse_duration(canary.watch or "10m", "--watch"),
        slos=slos,
        config=config,
        command_timeout_s=parse_duration(canary.command_timeout, "--command-timeout"),
        health_timeout_s=parse_duration(canary.health_timeout, "--health-timeout"),
    )
    check_order(order)
    return order


def _config(store: Store, proposal: StoredProposal, url: str) -> str:
    """The file of the trial that was proposed, with the canary's port."""
    after = proposal.study_after
    trial = None if proposal.trial is None else store.trial(after, proposal.trial)
    if trial is None:
        raise RunError(f"study {after} has no trial {proposal.trial} any more: reject proposal {proposal.number}")
    parts = urlsplit(url)
    return export_yaml(chosen_of(store, after, trial, parts.hostname or "127.0.0.1", parts.port or 8000))


def _with_file(canary: Canary, config: Path | None) -> Canary:
    """What is typed stands above what is in the operator's file. Raises UsageError."""
    if config is None:
        return canary
    try:
        said = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"--config {config} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(said, dict):
        raise UsageError(f"--config {config}: expected lines such as canary_cmd: ./deploy.sh")
    for name, value in said.items():
        if name not in _KEYS:
            raise UsageError(f"--config {config}: unknown {name!r}{choose(str(name), _KEYS)}")
        many = name in ("replica", "slo")
        if isinstance(value, str) or (many and isinstance(value, list) and all(isinstance(one, str) for one in value)):
            continue
        raise UsageError(f"--config {config}: {name} must be {'a list of texts' if many else 'a text'}")
    return replace(
        canary,
        canary_cmd=canary.canary_cmd or said.get("canary_cmd"),
        revert_cmd=canary.revert_cmd or said.get("revert_cmd"),
        canary_url=canary.canary_url or said.get("canary_url"),
        watch=canary.watch or said.get("watch"),
        replica=canary.replica or _texts(said.get("replica")),
        slo=canary.slo or _texts(said.get("slo")),
    )


def _texts(value: str | list[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def _show_one(found: StoredProposal, console: Console) -> None:
    say(console, f"proposal {found.number}: {found.state.value}, of {', '.join(found.urls)}")
    prose(console, plain(f"Drift: {found.drift}."))
    for line in diff_lines(found.workload_changes):
        say(console, f"  {line}")
    if found.verdict is not None:
        prose(console, plain(f"Study {found.study_after}: {found.verdict}"))
    for line in diff_lines(found.settings_changes):
        say(console, f"  {line}")


def _opened(storage: str) -> Store:
    Store.open(storage, read_only=True).close()  # what is not there is not made
    return Store.open(storage)


def _me() -> str:
    with suppress(OSError, KeyError):
        return getpass.getuser()
    return "an unknown user"
