"""What can be done with the service, a method a verb: REST and MCP call these, and nothing else of the service.

In: names and closed records (asked.py). Out: frozen records (shown.py), or a Refused whose sentence says why not. The methods
block, and may be called from several threads; a study that is asked for is run by whichever service has the queue. It knows no
HTTP.
"""

import re
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Literal

from tuner.errors import StorageError, did_you_mean
from tuner.record.listing import (
    defaults_params,
    last_trial,
    launches,
    listed,
    names,
    records,
    stamps,
    trial_lines,
)
from tuner.record.queue import CANCELLED, FAILED, PAUSED, QUEUED, RUNNING, Job, Queue
from tuner.record.store import Store
from tuner.serve.allowed import Allowed
from tuner.serve.asked import STUDY, ExportAsked, Page, StudyAsked
from tuner.serve.recommended import best_of, export_of
from tuner.serve.refused import InTheWay, NotThere, Refused
from tuner.serve.shown import (
    BestShown,
    HealthShown,
    OptionsShown,
    StudyPage,
    StudyShown,
    TextShown,
    TrialPage,
    TrialShown,
)
from tuner.serve.standing import Standings
from tuner.serve.study_shown import study_shown
from tuner.serve.tokens import number_after, study_after, study_token, text_token
from tuner.serve.trial_shown import trial_shown
from tuner.study.lease import lives

_STUDY_NAME = re.compile(STUDY)
#: A list waits so long for verdicts that are not known yet, all of them together.
_MOMENT_S = 0.01


class Verbs:
    """The verbs, over a database. `by` is who asks: an address, or an agent's name."""

    def __init__(self, storage: str, allowed: Allowed) -> None:
        """Raises UsageError, StorageError for a database that cannot be used; it is made where it is not there."""
        self.writing = Store.open(storage)
        self.reading = Store.open(storage, read_only=True)
        self.queue, self._asked = Queue(self.writing), Queue(self.reading)
        self._allowed, self._standings = allowed, Standings(self.reading)

    def close(self) -> None:
        """Give the database back."""
        self._standings.close()
        self.reading.close()
        self.writing.close()

    def options(self) -> OptionsShown:
        """What a request may name."""
        return self._allowed.shown()

    def health(self, queue: bool, version: str) -> HealthShown:
        """`queue` is whether it is run in this process."""
        try:
            self._asked.counts()
        except StorageError:
            return HealthShown(status="unwell", database="unreachable", queue=_runs(queue), version=version)
        return HealthShown(
            status="ok" if queue else "unwell", database="reachable", queue=_runs(queue), version=version
        )

    def studies(self, page: Page) -> StudyPage:
        """A page of the studies, the newest first."""
        found = listed(self.reading, page.limit + 1, None if page.after is None else study_after(page.after))
        more = len(found) > page.limit
        shown = self._shown([one.name for one in found[: page.limit]], _MOMENT_S)
        return StudyPage(studies=tuple(shown), next=study_token(found[page.limit - 1]) if more else None)

    def create(self, asked: StudyAsked, by: str) -> StudyShown:
        """Queue a study. A name that a failed or cancelled job has, of which nothing was begun, is free."""
        taken = names(self.reading)
        name = asked.study or _free(self._allowed.study_name(asked), taken)
        if _STUDY_NAME.fullmatch(name) is None:
            raise Refused(f"study: {name!r} is no name for a study: give another")
        asked = self._allowed.complete(asked).model_copy(update={"study": name})
        found = self._allowed.options(asked)
        if len(self._asked.in_states(QUEUED)) >= self._allowed.limits.queued:
            raise InTheWay(f"{self._allowed.limits.queued} studies are waiting already: cancel one, or come back later")
        if name in records(self.reading, [name]) or not self._add(asked, found.card, by):
            raise InTheWay(f"there is a study {name!r} already: give this one another name")
        return self.study(name)

    def _add(self, asked: StudyAsked, card: str, by: str) -> bool:
        assert asked.study is not None
        stored = asked.model_dump(mode="json", exclude_defaults=True)
        for _ in range(2):
            if self.queue.add(asked.study, stored, card, by, datetime.now(UTC)) is not None:
                return True
            if not self.queue.forget(asked.study):
                return False
        return False

    def study(self, name: str) -> StudyShown:
        """One study, its verdict included."""
        shown = self._shown([self._known(name)], None)
        if not shown:
            raise NotThere(f"there is no study {name!r} any more")
        return shown[0]

    def pause(self, name: str) -> StudyShown:
        """Stop it for now: what is finished is kept, and `resume` goes on."""
        job, now = self._job(name), datetime.now(UTC)
        if self.queue.change(name, [QUEUED], PAUSED, None, now) is None:
            told = "it pauses: the launch that runs is stopped, and every finished trial is kept"
            if self.queue.change(name, [RUNNING], RUNNING, told, now, wish="pause") is None:
                raise InTheWay(f"study {name!r} is {job.state}: only one that is queued or running can be paused")
        return self.study(name)

    def resume(self, name: str) -> StudyShown:
        """Queue it again, in its old place."""
        job, now = self._job(name), datetime.now(UTC)
        if self.queue.change(name, [PAUSED, FAILED], QUEUED, None, now) is None:
            if job.state != RUNNING or job.wish is None:
                raise InTheWay(f"study {name!r} is {job.state}: only one that is paused or failed can be resumed")
            self.queue.change(name, [RUNNING], RUNNING, None, now)
        return self.study(name)

    def cancel(self, name: str) -> StudyShown:
        """End it: what was measured is kept."""
        job, now = self._job(name), datetime.now(UTC)
        if self.queue.change(name, [QUEUED, PAUSED], CANCELLED, None, now) is None:
            told = "it is cancelled: the launch that runs is stopped, and every finished trial is kept"
            if self.queue.change(name, [RUNNING], RUNNING, told, now, wish="cancel") is None:
                raise InTheWay(f"study {name!r} is {job.state}: only one that has not ended can be cancelled")
        return self.study(name)

    def trials(self, name: str, page: Page) -> TrialPage:
        """A page of a study's trials, by number."""
        lines = trial_lines(
            self.reading, self._known(name), page.limit + 1, -1 if page.after is None else number_after(page.after)
        )
        usual = defaults_params(self.reading, name) if lines else None
        shown = tuple(trial_shown(line, usual) for line in lines[: page.limit])
        return TrialPage(trials=shown, next=text_token(str(shown[-1].trial)) if len(lines) > page.limit else None)

    def trials_after(self, name: str, number: int, limit: int = 50) -> list[TrialShown]:
        """Those that ended, behind that number: what watches a study is told."""
        lines = [line for line in trial_lines(self.reading, name, limit, number) if line.state == "finished"]
        usual = defaults_params(self.reading, name) if lines else None
        return [trial_shown(line, usual) for line in lines]

    def last_trial(self, name: str) -> int:
        """The highest number of a trial that ended; -1 without one."""
        return last_trial(self.reading, self._known(name))

    def best(self, name: str) -> BestShown:
        """What the study recommends."""
        return best_of(self.reading, self.begun(name))

    def export(self, name: str, asked: ExportAsked) -> TextShown:
        """A file to deploy."""
        return export_of(self.reading, self.begun(name), asked)

    def counts(self) -> tuple[dict[str, int], int, int]:
        """Jobs by their state; the trials that ended of the studies that run; the servers that were started for all."""
        running = [job.study for job in self._asked.in_states(RUNNING)]
        finished = sum(stamp.finished for stamp in stamps(self.reading, running).values())
        return self._asked.counts(), finished, launches(self.reading)

    def token(self, name: str) -> str | None:
        """What the files of its job are called; None where it has none."""
        job = self._asked.job(self._known(name))
        return None if job is None else job.token

    def _job(self, name: str) -> Job:
        job = self._asked.job(self._known(name))
        if job is None:
            raise InTheWay(f"study {name!r} was not asked for here: whoever runs it has to stop it")
        return job

    def _known(self, name: str) -> str:
        known = self._asked.jobs([name]) or records(self.reading, [name])
        if not known:
            raise NotThere(f"there is no study {name!r}{did_you_mean(name, names(self.reading))}")
        return name

    def begun(self, name: str) -> str:
        """The same name. Raises NotThere without such a study, InTheWay before its first launch is prepared."""
        if name not in records(self.reading, [self._known(name)]):
            raise InTheWay(f"study {name!r} has not begun yet: there is nothing of it")
        return name

    def _shown(self, page: Sequence[str], wait_s: float | None) -> list[StudyShown]:
        begun, jobs = records(self.reading, page), self._asked.jobs(page)
        found, left_s, shown = stamps(self.reading, page), wait_s, []
        for name in page:
            began, standing = time.monotonic(), None
            if name in found:
                standing = self._standings.of(name, found[name], left_s)
            if left_s is not None:
                left_s = max(0.0, left_s - (time.monotonic() - began))
            record, holder = begun.get(name, (None, None))
            job = jobs.get(name)
            if record is not None or job is not None:  # else deleted meanwhile
                shown.append(study_shown(record, job, lives(holder), found.get(name), standing))
        return shown


def _runs(queue: bool) -> Literal["running", "stopped"]:
    return "running" if queue else "stopped"


def _free(name: str, taken: Collection[str]) -> str:
    return next(one for number in count(1) if (one := name if number == 1 else f"{name}-{number}") not in taken)
