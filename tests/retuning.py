"""What tests of the retuning share: a study whose config is deployed, a proposal of it, and pages of a server that is used."""

import random
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from metrics_page import Page
from record_samples import NOW, STUDY, a_trial
from samples import measured

from tuner.record.proposals import Decided, Difference, Drafted, Proposals
from tuner.record.store import Store
from tuner.retune.proposals import step
from tuner.types import Command, Lengths, Trial, Workload
from tuner.workload.stored import workload_json

WORKLOAD = Workload(
    name="chat",
    api="completions",
    request_rate=40.0,
    input_tokens=Lengths(low=64, high=448),
    output_tokens=Lengths(low=32, high=224),
)


def trial(number: int, **settings: int) -> Trial:
    command = Command(argv=("vllm", "serve", "m"), model="some/model", settings=settings)
    return replace(a_trial(number, measured()), params=settings, command=command, violations={})


def stored_study(url: str, name: str = "prod", workload: Workload = WORKLOAD, **settings: int) -> Store:
    """A database with a study whose only config is deployed."""
    store = Store.open(url)
    record = replace(STUDY, name=name, settings={"slos": [], "workload": workload_json(workload)})
    store.create_or_get_study(record)
    store.finish(name, trial(0, **(settings or {"max_num_seqs": 64})))
    return store


def open_proposal(store: Store, urls: Sequence[str] = ("http://x:1/metrics",), **settings: int) -> int:
    """The number of a proposal whose study has decided; the study is stored, too."""
    after = replace(STUDY, name="after", settings={"slos": [], "workload": workload_json(WORKLOAD)})
    store.create_or_get_study(after)
    store.finish("after", trial(0, **(settings or {"max_num_seqs": 128})))
    book = Proposals(store)
    number = book.draft(
        Drafted(
            urls=tuple(urls),
            study_before="prod",
            study_after="after",
            drift="output tokens: 256 on average",
            workload=workload_json(WORKLOAD),
            workload_changes=(Difference(name="output tokens, mean", before="128", after="256"),),
        ),
        replace(step(None, "tuner", "drift found", "more tokens"), at=NOW),
    )
    changes = (Difference(name="max_num_seqs", before="64", after="128"),)
    decided = Decided(verdict="trial 0, verified", gain=0.1, trial=0, settings_changes=changes)
    book.decide(number, decided, replace(step(number, "tuner", "proposed", "verified"), at=NOW))
    return number


class UsedServer:
    """A page of /metrics on which each reading finds `requests` more finished, of lengths times `longer`; `restart` empties it,
    `away` makes it answer 503."""

    def __init__(self, requests: int = 40, seed: int = 0) -> None:
        self.requests, self.longer, self.away, self.readings = requests, 1.0, False, 0
        self._page, self._random, self._lock = Page(), random.Random(seed), threading.Lock()
        self._page.in_flight(2, 0)

    def restart(self) -> None:
        with self._lock:
            self._page = Page()

    def answer(self) -> tuple[int, str]:
        with self._lock:
            self.readings += 1
            if self.away:
                return 503, ""
            for _ in range(self.requests):
                self._page.finish(self._random.randint(64, 448), round(self._random.randint(32, 224) * self.longer))
            return 200, self._page.text()


def script(folder: Path, name: str, text: str) -> str:
    """An operator's command."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)
