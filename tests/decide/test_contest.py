from samples import measured, trial

from tuner.decide.contest import Contest, level_of
from tuner.decide.objective import OBJECTIVES
from tuner.decide.shortlist import shortlist
from tuner.decide.verdict import contest_of
from tuner.types import Trial

THROUGHPUT = OBJECTIVES["throughput"]


def searched(*throughputs: float) -> list[Trial]:
    return [trial(n, measured(output_throughput=t), is_default=n == 0) for n, t in enumerate(throughputs)]


def contest(trials: list[Trial], rounds: int = 5, looks: int = 0) -> Contest:
    return contest_of(trials, shortlist(trials, THROUGHPUT, []), THROUGHPUT, [], rounds=rounds, looks=looks)


def due(of: Contest) -> list[int]:
    return [trial.number for trial in of.due]


def play(of: Contest, **throughputs: float) -> list[int]:
    """One round, in the order in which it is due."""
    order = due(of)
    for number in order:
        of.take(number, measured(output_throughput=throughputs[f"t{number}"]))
    return order


def test_finalists_and_defaults_are_launched_in_turn_each_round_in_the_other_order() -> None:
    race = contest(searched(100, 150, 149.5, 120))
    assert play(race, t0=100, t1=150, t2=150.5) == [1, 2, 0]
    assert due(race) == [0, 2, 1]


def test_who_is_not_ahead_of_the_leader_waits() -> None:
    race = contest(searched(100, 150, 149.5))
    play(race, t0=100, t1=150, t2=140)
    assert due(race) == [0, 1]


def test_a_clear_case_needs_two_rounds_and_an_open_one_all() -> None:
    race = contest(searched(100, 150))
    play(race, t0=100, t1=150)
    play(race, t0=100.1, t1=150.1)
    assert due(race) == []
    race = contest(searched(100, 150), rounds=4)
    played = 0
    while due(race):
        play(race, t0=100 + 9 * (-1) ** race.round, t1=104 + 9 * (-1) ** (race.round // 2))
        played += 1
    assert played == 4


def test_a_leader_that_shows_no_gain_is_given_up() -> None:
    race = contest(searched(100, 150), rounds=50)
    while due(race):
        play(race, t0=100 + race.round % 2, t1=99 + race.round % 2 * 3)
    assert race.round <= 4


def test_levels_are_used_up_over_all_contests_of_a_study() -> None:
    levels = [level_of(look) for look in range(1, 200)]
    assert sum(levels) < 0.055
    assert all(level > 0 for level in levels)
    assert contest(searched(100, 150), looks=7).looks == 7


def test_a_launch_that_nobody_asked_for_changes_nothing() -> None:
    race = contest(searched(100, 150))
    race.take(77, measured())
    assert due(race) == [1, 0]


def test_what_two_launches_cannot_tell_says_how_many_can() -> None:
    trials = searched(100.0, 110.0)
    short = contest(trials, rounds=2)
    play(short, t0=98.0, t1=105.0)
    play(short, t0=102.0, t1=101.0)
    assert short.is_decided
    assert short.is_cut_short
    assert short.gain is not None
    assert short.gain.least_seen is not None
    assert short.gain.least_seen > 0.3
    assert short.enough is not None
    assert short.enough.gain == 0.1
    assert 3 <= short.enough.launches <= 6
    longer = contest(trials, rounds=short.enough.launches)
    play(longer, t0=98.0, t1=105.0)
    play(longer, t0=102.0, t1=101.0)
    assert longer.due  # the same launches, and it goes on


def test_a_leader_that_was_given_up_needs_no_more_launches() -> None:
    given_up = contest(searched(100.0, 150.0), rounds=3)
    for base, other in ((80.0, 81.0), (100.0, 99.0), (120.0, 119.0)):
        play(given_up, t0=base, t1=other)
    assert given_up.is_decided
    assert not given_up.is_cut_short
    assert given_up.enough is None
