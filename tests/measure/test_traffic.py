import random
from collections.abc import Callable
from pathlib import Path

import pytest
from metrics_page import Page

from tuner.errors import RunError, UsageError
from tuner.measure.traffic import Scrape, Traffic, burstiness, parse, traffic
from tuner.workload.lengths import mean

RECORDED = (Path(__file__).parent / "vllm-0.32.0.metrics.txt").read_text()


def between(page: Page, duration_s: float, happen: Callable[[], None]) -> Traffic:
    before = parse(page.text(), 100.0, "URL")
    happen()
    return traffic([before, parse(page.text(), 100.0 + duration_s, "URL")])


def test_lengths_and_rate_of_what_came_between_over_all_engines() -> None:
    page, dice = Page(engines=2), random.Random(1)
    for _ in range(30):
        page.finish(8000, 3000)
    page.in_flight(running=3, waiting=0)
    lengths = [(dice.randint(80, 900), dice.randint(20, 300)) for _ in range(400)]

    def happen() -> None:
        for prompt, generated in lengths:
            page.finish(prompt, generated)
        page.in_flight(running=11, waiting=2)

    found = between(page, 100.0, happen)
    assert found.requests == 400
    assert found.request_rate == pytest.approx(4.1)  # 8 more running and 2 more waiting than before
    assert found.input_mean == pytest.approx(sum(prompt for prompt, _ in lengths) / 400)
    assert mean(found.input_tokens) == pytest.approx(found.input_mean, rel=0.01)
    assert mean(found.output_tokens) == pytest.approx(found.output_mean, rel=0.01)
    assert 50 <= found.input_tokens.low <= 100
    assert 800 <= found.input_tokens.high <= 1000
    assert found.running_mean == 7.0
    assert found.waiting_mean == 1.0
    assert not found.saturated
    assert found.burstiness is None
    assert found.prefix_hit_rate == 0
    assert found.shared_prefix is None


def test_a_cache_that_is_hit_is_a_shared_prefix() -> None:
    page = Page()

    def happen() -> None:
        for _ in range(20):
            page.finish(800, 10, hits=320)
        page.finish(100, 10)

    found = between(page, 10.0, happen)
    assert found.prefix_hit_rate == pytest.approx(20 * 320 / 16_100)
    assert found.shared_prefix is not None
    assert found.shared_prefix.tokens == round(20 * 320 / 16_100 * 16_100 / 21)
    assert found.input_tokens.low > found.shared_prefix.tokens


def test_the_prefix_fits_into_nearly_all_prompts() -> None:
    page = Page()

    def happen() -> None:
        for length in (120, 130, 900):
            page.finish(length, 10, hits=length - 20)

    found = between(page, 10.0, happen)
    assert found.shared_prefix is not None
    assert found.shared_prefix.tokens == 100
    found = between(page, 10.0, lambda: page.finish(12, 10, hits=6))
    assert found.prefix_hit_rate == 0.5
    assert found.shared_prefix is None  # less than a block


def test_more_waiting_than_running_is_saturated() -> None:
    page = Page()
    page.in_flight(running=4, waiting=30)
    assert between(page, 5.0, lambda: page.finish(10, 10)).saturated


def test_arrivals_that_only_finish_count_by_their_ends() -> None:
    page = Page()
    page.in_flight(running=2, waiting=0)

    def happen() -> None:
        page.finish(10, 10)
        page.finish(10, 10)
        page.in_flight(running=0, waiting=0)

    assert between(page, 4.0, happen).request_rate == 0.5


def test_nothing_finished_is_said() -> None:
    page = Page()
    with pytest.raises(RunError, match="no request finished in 7 s: look for longer"):
        between(page, 7.0, lambda: None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "URL has no vllm:request_success_total: is this a vLLM server"),
        ("<html>hello</html>\n", "URL is a web page and no metrics"),
        (RECORDED, "URL has metrics of vLLM, but no vllm:request_prompt_tokens_sum"),
        ("vllm:request_success_total{engine= nonsense\n", "URL is not a page of Prometheus metrics"),
    ],
)
def test_other_pages_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(text, 0.0, "URL")


def test_a_real_page_of_vllm_has_the_rest() -> None:
    histograms = "\n".join(
        f"vllm:request_{kind}_tokens_{field} {value}"
        for kind in ("prompt", "generation")
        for field, value in (('bucket{le="1.0"}', 0), ('bucket{le="+Inf"}', 3020), ("sum", 363337))
    )
    found: Scrape = parse(f"{RECORDED}\n{histograms}\n", 0.0, "URL")
    assert found.finished == 3020
    assert found.running == 8
    assert found.waiting == 0
    assert found.prefix_queries == 367172
    assert found.arrived == 3028


def arrivals(shape: float, rate: float, seconds: int, seed: int) -> list[tuple[float, float]]:
    """What scrapes a second apart count of arrivals with gamma gaps."""
    dice, now, count = random.Random(seed), 0.0, 0
    seen: list[tuple[float, float]] = []
    while now < seconds:
        now += dice.gammavariate(shape, 1 / (rate * shape))
        seen += [(float(second), float(count)) for second in range(len(seen), min(int(now) + 1, seconds + 1))]
        count += 1
    return seen


@pytest.mark.parametrize(("shape", "low", "high"), [(0.1, 0.05, 0.2), (0.4, 0.2, 0.7), (4.0, 2.5, 7.0)])
@pytest.mark.parametrize("rate", [0.8, 6.0, 30.0])
def test_burstiness_of_gamma_arrivals(shape: float, low: float, high: float, rate: float) -> None:
    for seed in range(5):
        found = burstiness(arrivals(shape, rate, 2000, seed))
        assert found is not None
        assert low <= found <= high


def test_poisson_arrivals_are_called_poisson_nearly_always() -> None:
    found = [burstiness(arrivals(1.0, 5.0, 600, seed)) for seed in range(60)]
    assert sum(value == 1.0 for value in found) >= 52
    assert all(value is not None and 0.6 < value < 1.8 for value in found)


def test_constant_arrivals_are_far_from_bursty() -> None:
    found = burstiness([(float(second), float(second * 3)) for second in range(600)])
    assert found is not None
    assert found >= 50


def test_too_few_requests_leave_the_burstiness_open() -> None:
    assert burstiness([]) is None
    assert burstiness([(0.0, 5.0)]) is None
    assert burstiness([(float(second), 5.0) for second in range(600)]) is None
    assert burstiness(arrivals(1.0, 0.2, 600, 1)) is None
    assert burstiness([(float(second), 0.0) for second in range(99)] + [(99.0, 1000.0)]) is not None
