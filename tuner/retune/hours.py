"""`01:00-05:00` in; whether a moment is within it out. Pure: local time of whoever asks."""

import re
from dataclasses import dataclass
from datetime import datetime, time

from tuner.errors import UsageError


@dataclass(frozen=True, slots=True)
class Hours:
    """From `begin` on, up to and without `end`, each day; over midnight where `end` is the earlier one."""

    begin: time
    end: time

    def hold(self, moment: datetime) -> bool:
        now = moment.time()
        if self.begin < self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end

    def __str__(self) -> str:
        return f"{self.begin:%H:%M}-{self.end:%H:%M}"


def parse_hours(flag: str, text: str) -> Hours:
    """Raises UsageError, naming the flag. The same time twice is the whole day."""
    found = re.fullmatch(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)", text.strip(), re.ASCII)
    try:
        if found is None:
            raise ValueError
        begin, end = time(int(found[1]), int(found[2])), time(int(found[3]) % 24, int(found[4]))
    except ValueError:
        raise UsageError(f"{flag} {text!r} is no time of day from when to when: give one such as 01:00-05:00") from None
    return Hours(begin, end)
