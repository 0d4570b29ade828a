"""A running server in; what holds it back out. With a load, or on its own traffic. It changes nothing there.

Read are its /metrics, and where it runs on this machine its processes (found by who listens on its port), their command line,
and the GPUs. What is not known stays so: the diagnosis says what it would have needed.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import psutil

from tuner import interrupts
from tuner.bench.keys import is_here, key_for
from tuner.bench.sides import Conditions, gpus_beside, pids_beside, url_side
from tuner.diagnose.card import card_thresholds
from tuner.diagnose.diagnosing import diagnose
from tuner.diagnose.diagnosis import Diagnosis
from tuner.diagnose.evidence import evidence_of
from tuner.errors import LaunchError, RunError, UsageError
from tuner.measure.command_line import is_all, settings_of
from tuner.measure.cpu import CpuSampler
from tuner.measure.gpu import GpuSampler, detect
from tuner.measure.own_traffic import check_page, models_of, own_load, remarks
from tuner.measure.production import metrics_url, page
from tuner.measure.server import ServerSampler
from tuner.measure.server_page import cache_settings, kv_cache_tokens_of
from tuner.space.files import space_for
from tuner.types import DetectedGpu, Measured, Params, Workload

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A server's window, and the diagnosis of it. `workload` is None for its own traffic. `settings` are those that are known,
    `remarks` sentences that are to be known before it is believed."""

    base_url: str
    models: tuple[str, ...]
    measured: Measured
    settings: Params
    workload: Workload | None
    diagnosis: Diagnosis
    remarks: tuple[str, ...] = field(default=())


def diagnose_traffic(
    url: str, window_s: float, gpus: Sequence[int] | None, settings: Params, tell: Tell = lambda text: None
) -> Seen:
    """Of the traffic that it has anyway, over so many seconds; `settings` are those that the user knows. Raises UsageError for
    what is no URL, RunError where its /metrics cannot be read or are not vLLM's."""
    address = metrics_url(url)
    key = key_for(address, send=False)
    base_url, text, detected = address.removesuffix("/metrics"), readable(address, key), detect()
    sampled, pids = gpus_beside(base_url, gpus, detected), pids_beside(base_url)
    tell(f"watching its traffic for {window_s:g} s")
    try:
        measured, more = interrupts.run(_watched(ServerSampler(base_url, key=key), window_s, sampled, pids, text))
    except LaunchError as error:
        raise RunError(error.failed.message) from error
    said, are_all = _started_with(pids)
    known, told = {**cache_settings(text), **said, **settings}, [*more, *_unseen(base_url, pids)]
    return seen_of(base_url, models_of(text), measured, known, None, detected, told, are_all=are_all)


def diagnose_load(url: str, conditions: Conditions, settings: Params, salt: int, tell: Tell) -> Seen:
    """The same under the conditions' workload. Raises UsageError, RunError."""
    side = url_side(url, conditions)
    address = metrics_url(side.name)
    text, pids = readable(address, key_for(side.name, send=conditions.send_key)), pids_beside(side.name)
    try:
        measured = interrupts.run(side.measure(salt, tell))
    except LaunchError as error:
        raise RunError(f"{error.failed.kind.value}: {error.failed.message}") from error
    said, are_all = _started_with(pids)
    known, told = {**cache_settings(text), **said, **settings}, _unseen(side.name, pids)
    return seen_of(side.name, [side.model], measured, known, conditions.workload, detect(), told, are_all=are_all)


def readable(address: str, key: str | None) -> str:
    """The page of a /metrics URL. Raises RunError where it cannot be read, or is not a vLLM's that is awake."""
    text = page(address, key)
    check_page(text, address)
    return text


async def _watched(
    server: ServerSampler, window_s: float, gpus: Sequence[int], pids: Sequence[int], text: str
) -> tuple[Measured, list[str]]:
    """`text` is a page that was read before. Raises LaunchError where the server cannot be read at one end."""
    gpu = GpuSampler(gpus)
    cpu = CpuSampler(pids=pids) if pids else None
    async with server:
        with gpu, cpu or nullcontext():
            await asyncio.sleep(window_s)
    cores = cpu.cores() if cpu else None
    load = own_load(*server.ends())
    measured = Measured(
        load=load,
        server=server.metrics(api_servers=(cores and cores.api_servers) or 1),
        gpu=gpu.metrics(load.output_tokens),
        server_cpu_cores=cpu.mean_cores() if cpu else None,
        startup_s=None,
        kv_cache_tokens=kv_cache_tokens_of(text),
        cores=cores,
    )
    return measured, remarks(load, server.gauges(), models_of(text))


def seen_of(
    base_url: str,
    models: Sequence[str],
    measured: Measured,
    settings: Params,
    workload: Workload | None,
    detected: Sequence[DetectedGpu],
    told: Sequence[str],
    *,
    are_all: bool = True,
) -> Seen:
    """With the diagnosis of a measurement that was made with these settings, as far as they are known; with `are_all` the
    others are as vLLM has them."""
    card = _card(measured, detected)
    found = diagnose(evidence_of(measured, settings, workload, are_all=are_all), settings, card=card)
    return Seen(
        base_url=base_url,
        models=tuple(models),
        measured=measured,
        settings=settings,
        workload=workload,
        diagnosis=found,
        remarks=tuple(told),
    )


def _card(measured: Measured, detected: Sequence[DetectedGpu]) -> Mapping[str, float] | None:
    """The thresholds of the card that was sampled; None where it is none that tuner knows."""
    name = next((gpu.name for gpu in detected if measured.gpu and gpu.index in measured.gpu.gpus), None)
    try:
        return card_thresholds(space_for(name).gpu) if name else None
    except UsageError:
        return None


def _started_with(pids: Sequence[int]) -> tuple[Params, bool]:
    """The settings on the command line of the first of them that is a vLLM server's, and whether it says all of them."""
    for pid in pids:
        try:
            words = psutil.Process(pid).cmdline()
        except psutil.Error:
            continue
        said, are_all = settings_of(words), is_all(words)
        if said or are_all:
            return said, are_all
    return {}, False


def _unseen(base_url: str, pids: Sequence[int]) -> list[str]:
    if pids:
        return []
    if not is_here(base_url):
        return ["its processes and GPUs are on another machine: run this there to have them as evidence"]
    return ["its processes cannot be seen (another user's, or in a container): their cores are no evidence"]
