"""What may be optimized, alone and beside others: its value of a measurement, its error, and what is refused."""

from dataclasses import replace
from math import log

import pytest
from samples import load_metrics, measured

from tuner.decide.objective import (
    COST,
    ENERGY,
    OBJECTIVES,
    check_orders,
    metrics_of,
    parse_objectives,
    the_only,
    without_the_one_gpu,
)
from tuner.errors import UsageError
from tuner.types import Measured


def test_the_cost_of_a_million_output_tokens_is_the_price_of_the_time_that_they_take() -> None:
    (cost,) = parse_objectives(["cost"], 3.6)
    assert cost.value(measured(output_throughput=1000.0)) == pytest.approx(3.6 / 3600 / 1000 * 1e6)
    assert cost.value(measured(output_throughput=0.0)) is None
    assert not cost.maximize
    assert cost.gain(1.0, 2.0) == 1.0


def test_energy_is_the_gpu_s_and_absent_where_it_does_not_tell() -> None:
    (energy,) = parse_objectives(["energy"])
    assert energy.value(measured(energy_j=12.5)) == 12.5
    assert energy.value(measured()) is None
    assert energy.of_load(load_metrics()) is None
    assert not energy.is_of_the_load


def test_metrics_have_those_of_the_objectives_beside_them() -> None:
    found = metrics_of(measured(output_throughput=100.0, energy_j=5.0), parse_objectives(["cost", "energy"], 0.36))
    assert found[COST] == pytest.approx(1.0)
    assert found[ENERGY] == 5.0
    assert found["output_throughput"] == 100.0
    assert COST not in metrics_of(measured(), [])


def test_the_error_of_a_value_is_that_of_its_own_interval() -> None:
    known = replace(load_metrics(), output_throughput_ci95=1.96, ci95={"ttft_p99_s": (0.08, 0.125)})
    found = replace(measured(), load=known)
    assert OBJECTIVES["throughput"].error(found) == pytest.approx(0.01)
    assert parse_objectives(["cost"], 1.0)[0].error(found) == pytest.approx(0.01)
    assert OBJECTIVES["ttft_p99"].error(found) == pytest.approx(log(0.125 / 0.08) / 3.92)
    assert OBJECTIVES["ttft_p50"].error(found) is None
    assert OBJECTIVES["throughput"].error(measured()) is None


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["speed"], "unknown objective 'speed'"),
        (["cost"], "--objective cost needs the price of one GPU for an hour: give --price"),
        (["ttft_p99", "throughput", "ttft_p99"], "--objective ttft_p99 is given twice: leave one of them out"),
    ],
)
def test_what_cannot_be_meant_is_refused(names: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse_objectives(names)


def test_two_that_are_one_order_are_refused() -> None:
    with pytest.raises(UsageError, match="cost says nothing beside --objective throughput"):
        check_orders(parse_objectives(["cost", "throughput"], 1.0))
    with pytest.raises(UsageError, match="requests_per_gpu says nothing beside --objective requests: all servers"):
        check_orders(parse_objectives(["requests_per_gpu", "requests"]))
    with pytest.raises(UsageError, match="throughput_per_gpu says nothing beside --objective cost"):
        parse_objectives(["throughput_per_gpu", "cost"], 1.0)
    assert [one.name for one in parse_objectives(["cost", "ttft_p99"], 1.0)] == ["cost", "ttft_p99"]


def test_what_can_have_one_objective_refuses_several() -> None:
    assert the_only(["ttft_p99"], "`tuner plan`") == "ttft_p99"
    with pytest.raises(UsageError, match="--objective is given 2 times, and `tuner plan` has one"):
        the_only(["ttft_p99", "throughput"], "`tuner plan`")


def on(gpus: int | None, output_throughput: float = 400.0) -> Measured:
    found = measured(output_throughput=output_throughput)
    return replace(found, load=replace(found.load, gpus=gpus))


def test_a_server_on_eight_cards_is_compared_with_eight_servers() -> None:
    whole, part, cost = parse_objectives(["throughput", "throughput_per_gpu", "ttft_p99"])[0:2] + parse_objectives(
        ["cost"], 3.6
    )
    assert [whole.value(on(gpus)) for gpus in (1, 4)] == [400.0, 400.0]
    assert [part.value(on(gpus)) for gpus in (1, 4)] == [400.0, 100.0]
    assert [cost.value(on(gpus)) for gpus in (1, 4)] == pytest.approx([2.5, 10.0])
    assert part.gain(100.0, 400.0) == pytest.approx(-0.75)


def test_a_measurement_that_does_not_say_has_as_many_gpus_as_the_fixed_sizes_make() -> None:
    part, cost = parse_objectives(["throughput_per_gpu", "e2e_p99"], None, 2)[0], parse_objectives(["cost"], 7.2, 2)[0]
    assert part.value(on(None)) == 200.0
    assert cost.value(on(None)) == cost.value(on(2)) == pytest.approx(5.0)  # 7.2 an hour is of both
    assert cost.value(on(4)) == pytest.approx(10.0)


def test_the_numbers_of_a_gpu_are_told_where_they_say_something() -> None:
    assert on(4).metrics()["output_throughput_per_gpu"] == 100.0
    assert "output_throughput_per_gpu" not in on(None).metrics()
    one, four = on(1).metrics(), on(4).metrics()
    assert without_the_one_gpu([one, four]) == [one, four]
    assert {"gpus", "output_throughput_per_gpu"}.isdisjoint(without_the_one_gpu([one])[0])
    asked = without_the_one_gpu([one], parse_objectives(["throughput_per_gpu"]))[0]
    assert asked["output_throughput_per_gpu"] == 400.0
