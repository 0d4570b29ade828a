import random
from dataclasses import replace
from math import inf
from typing import Any

from tuner.load.warm_up import Tick, WarmUp
from tuner.types import Workload
from tuner.workload.presets import PRESETS

CHAT, OPEN = PRESETS["chat"], PRESETS["open-chat"]
QUIET = Tick(
    time_s=0.0, events=0, ended=0, open=64, waiting=0, unanswered=0, unended=64, oldest_due_s=inf, longest_s=0.0
)


def _over_s(warm_up: WarmUp, ticks: list[Tick]) -> float | None:
    for tick in ticks:
        warm_up.tell(tick)
        if warm_up.is_over:
            return tick.time_s
    return None


def _ticks(seconds: float, **more: Any) -> list[Tick]:
    """Four a second, at 100 chunks a tick and some noise; `more` are values, or functions of the time."""
    rng, events, found = random.Random(1), 0, []
    for number in range(1, int(seconds * 4) + 1):
        events += 100 + rng.randint(-3, 3)
        values: dict[str, Any] = {name: value(number / 4) if callable(value) else value for name, value in more.items()}
        changes: dict[str, Any] = {"time_s": number / 4, "events": events, **values}
        found.append(replace(QUIET, **changes))
    return found


def _closed(workload: Workload = CHAT, *, begins_steady: bool = True) -> WarmUp:
    return WarmUp(workload, ramp_s=2.0, begins_steady=begins_steady)


def test_users_who_all_have_a_token_and_need_not_wait_are_in_the_steady_state() -> None:
    warm_up = _closed()
    over_s = _over_s(warm_up, _ticks(60, waiting=lambda t: 30 if t < 7 else 0, unanswered=lambda t: 30 if t < 7 else 0))
    assert over_s is not None
    assert 10 <= over_s <= 13
    assert warm_up.stationary


def test_users_who_queue_must_have_ended_the_request_that_they_began_with() -> None:
    warm_up = _closed()
    ticks = _ticks(200, waiting=32, unended=lambda t: 9 if t < 100 else 0, longest_s=lambda t: t)
    over_s = _over_s(warm_up, ticks)
    assert over_s is not None
    assert 103 <= over_s <= 106
    assert warm_up.stationary


def test_so_must_users_who_think_and_those_whose_answers_end_by_themselves() -> None:
    for warm_up in (_closed(replace(CHAT, think_time_s=1.0)), _closed(begins_steady=False)):
        over_s = _over_s(warm_up, _ticks(60, unended=lambda t: 9 if t < 15 else 0, longest_s=lambda t: t))
        assert over_s is not None
        assert 18 <= over_s <= 21


def test_what_never_becomes_stationary_is_over_after_a_while_that_grows_with_the_requests() -> None:
    for longest_s, least_s in ((1.0, 22.0), (20.0, 82.0)):
        warm_up = _closed()
        over_s = _over_s(warm_up, _ticks(200, events=lambda t: int(100 * t * t), unended=0, longest_s=longest_s))
        assert over_s == least_s
        assert not warm_up.stationary


def test_a_window_never_begins_while_a_user_has_no_token() -> None:
    assert _over_s(_closed(), _ticks(300, unanswered=1, waiting=1)) is None


def test_an_open_loop_is_full_when_what_came_in_the_first_fifth_has_left() -> None:
    """Each request takes 20 s: the oldest open one was due 20 s ago."""
    warm_up = WarmUp(OPEN, ramp_s=0.0, begins_steady=True)
    ticks = _ticks(
        200,
        open=lambda t: int(8 * min(t, 20)),
        ended=lambda t: int(8 * max(0, t - 20)),
        oldest_due_s=lambda t: max(0.0, t - 20),
        longest_s=lambda t: 20.0 if t > 20 else 0.0,
        unended=0,
    )
    over_s = _over_s(warm_up, ticks)
    assert over_s is not None
    assert 25 <= over_s <= 32
    assert warm_up.stationary


def test_an_open_loop_in_which_ever_more_are_in_flight_is_not_stationary() -> None:
    warm_up = WarmUp(OPEN, ramp_s=0.0, begins_steady=True)
    ticks = _ticks(
        300,
        open=lambda t: int(3 * t),
        ended=lambda t: int(5 * t),
        oldest_due_s=lambda t: 0.6 * t,
        longest_s=lambda t: 0.4 * t,
        unended=0,
    )
    assert _over_s(warm_up, ticks) == 4 * 0.4 * 20  # what had ended after five times 4 s
    assert not warm_up.stationary
