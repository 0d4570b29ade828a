from dataclasses import replace

import pytest
from metrics_page import Page

from tuner.measure.fleet import Fleet
from tuner.measure.traffic import Scrape, parse


def scrape(page: Page, at_s: float) -> Scrape:
    return parse(page.text(), at_s, "http://x")


def served(page: Page, count: int) -> None:
    for _ in range(count):
        page.finish(100, 50, hits=20)


def test_replicas_are_added_and_time_is_that_of_one() -> None:
    fleet, pages = Fleet(longest_gap_s=100), [Page(), Page()]
    served(pages[0], 7)  # before anybody looked
    fleet.take([scrape(page, 0) for page in pages])
    served(pages[0], 10)
    served(pages[1], 30)
    pages[1].in_flight(4, 2)
    moment = fleet.take([scrape(page, 10) for page in pages])
    assert moment is not None
    assert (moment.total.finished, moment.total.time_s, moment.readable) == (40, 20, 2)
    assert moment.in_flight == pytest.approx(3)
    assert (moment.total.prompts.count, moment.total.prompts.sum) == (40, 4000)
    assert moment.total.prefix_hits == 800


def test_a_server_that_has_served_more_since_it_was_started_anew_is_another_one() -> None:
    """Its counters did not go backwards, but began later."""
    fleet, page = Fleet(longest_gap_s=100), Page()
    served(page, 10)
    fleet.take([scrape(page, 0)])
    served(page, 5)
    fleet.take([scrape(page, 10)])
    anew = Page()
    served(anew, 40)
    moment = fleet.take([scrape(anew, 20)])
    assert moment is not None
    assert (fleet.restarts, moment.total.finished, moment.total.time_s) == (1, 5, 10)
    served(anew, 1)
    moment = fleet.take([scrape(anew, 30)])
    assert moment is not None
    assert (fleet.restarts, moment.total.finished, moment.total.time_s) == (1, 6, 20)


def test_a_server_that_was_started_anew_loses_only_what_nobody_saw() -> None:
    fleet, page = Fleet(longest_gap_s=100), Page()
    fleet.take([scrape(page, 0)])
    served(page, 10)
    page.in_flight(3, 0)
    fleet.take([scrape(page, 10)])
    anew = Page()
    served(anew, 2)
    fleet.take([scrape(anew, 20)])  # those 2 came in a time whose beginning is not known
    served(anew, 5)
    moment = fleet.take([scrape(anew, 30)])
    assert moment is not None
    assert fleet.restarts == 1
    assert (moment.total.generations.count, moment.total.time_s) == (15, 20)
    assert moment.total.arrived == 10 + 3 + 5


def test_a_replica_that_is_away_is_left_out_and_comes_back() -> None:
    fleet, pages = Fleet(longest_gap_s=15), [Page(), Page()]
    fleet.take([scrape(page, 0) for page in pages])
    for page in pages:
        served(page, 10)
    moment = fleet.take([scrape(pages[0], 10), None])
    assert moment is not None
    assert (moment.total.finished, moment.total.time_s, moment.readable) == (10, 10, 1)
    near = fleet.take([scrape(pages[0], 12), scrape(pages[1], 12)])
    assert near is not None
    assert (near.total.finished, near.total.time_s) == (20, 24)
    served(pages[1], 10)
    far = fleet.take([None, scrape(pages[1], 60)])
    assert far is not None
    assert far.total.finished == 20  # too long ago: what it did in between is not spread over windows


def test_nothing_is_known_before_the_first_reading() -> None:
    fleet = Fleet(longest_gap_s=1)
    assert fleet.take([None]) is None
    moment = fleet.take([replace(scrape(Page(), 5), running=None)])
    assert moment is not None
    assert (moment.total.time_s, moment.in_flight) == (0, None)
