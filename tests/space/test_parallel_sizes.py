"""Parallel sizes as settings: how many GPUs a server takes, and the space that so many GPUs leave."""

import pytest

from tuner.errors import UsageError
from tuner.space.files import load_space, shipped_spaces
from tuner.space.parallel import fixed_gpus, gpus_of, most_gpus, searched_sizes, within
from tuner.space.parameters import Categorical
from tuner.space.search_space import ALL, PARALLEL, SearchSpace


def sizes(space: SearchSpace, name: str) -> tuple[object, ...]:
    found = space.parameters[name]
    assert isinstance(found, Categorical)
    return found.choices


@pytest.fixture
def space() -> SearchSpace:
    return load_space("h200").with_groups(["batch", PARALLEL])


def test_a_server_takes_the_product_of_its_sizes() -> None:
    assert gpus_of({}) == 1
    assert gpus_of({"tensor_parallel_size": 2, "data_parallel_size": 4, "max_num_seqs": 64}) == 8
    assert gpus_of({"tensor_parallel_size": "two", "pipeline_parallel_size": 0}) == 1  # vLLM refuses these


@pytest.mark.parametrize("name", [name for name in shipped_spaces() if name != "cpu"])
def test_the_sizes_are_searched_only_where_they_are_named(name: str) -> None:
    whole = load_space(name)
    for chosen in (None, ["batch"], [ALL]):
        assert searched_sizes(whole.with_groups(chosen)) == ()
    named = whole.with_groups([ALL, PARALLEL])
    assert searched_sizes(named) == ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
    assert {*named.groups} == {*whole.groups}
    assert named.groups[PARALLEL].open  # nothing is waited for: the user has said so
    assert most_gpus(named) == 8


def test_more_than_eight_cards_are_a_violation(space: SearchSpace) -> None:
    assert not space.violations({"tensor_parallel_size": 4, "pipeline_parallel_size": 1, "data_parallel_size": 2})
    point = {"tensor_parallel_size": 4, "pipeline_parallel_size": 1, "data_parallel_size": 4}
    assert space.violations(point)[-1].endswith("a host has eight of these cards at the most")


@pytest.mark.parametrize(("cards", "left"), [(8, (1, 2, 4, 8)), (4, (1, 2, 4)), (2, (1, 2)), (3, (1, 2))])
def test_sizes_that_need_more_cards_than_there_are_leave_the_search(
    space: SearchSpace, cards: int, left: tuple[int, ...]
) -> None:
    found = within(space, cards)
    assert sizes(found, "tensor_parallel_size") == left
    assert most_gpus(found) == max(left)
    for tensor in left:
        for data in left:
            point = {"tensor_parallel_size": tensor, "pipeline_parallel_size": 1, "data_parallel_size": data}
            assert bool(found.violations(point)) == (tensor * data > cards)
    assert SearchSpace.model_validate_json(found.model_dump_json()) == found


def test_one_card_leaves_nothing_to_search_of_them(space: SearchSpace) -> None:
    found = within(space, 1)
    assert searched_sizes(found) == ()
    assert most_gpus(found) == 1


def test_a_fixed_size_counts(space: SearchSpace) -> None:
    found = within(space.with_fixed({"tensor_parallel_size": 2}), 4)
    assert (fixed_gpus(found), most_gpus(found)) == (2, 4)
    assert sizes(found, "data_parallel_size") == (1, 2)
    assert found.violations({"pipeline_parallel_size": 2, "data_parallel_size": 2})


def test_a_size_that_is_left_alone_is_that_of_all_trials(space: SearchSpace) -> None:
    two = within(space.with_choices("tensor_parallel_size", [2, 4]), 2)
    assert (two.fixed["tensor_parallel_size"], searched_sizes(two), most_gpus(two)) == (2, (), 2)
    with pytest.raises(UsageError, match=r"tensor_parallel_size is 4 at the least, which takes 4 GPUs, and .* have 2"):
        within(space.with_choices("tensor_parallel_size", [4, 8]), 2)


def test_a_space_of_the_users_own_may_have_a_range() -> None:
    own = SearchSpace.model_validate(
        {
            "gpu": {"names": ["Tesla T4"], "compute_capability": "7.5"},
            "parameters": {"data_parallel_size": {"type": "int", "low": 1, "high": 6}},
        }
    )
    found = within(own, 4)
    assert most_gpus(found) == 4
    assert found.violations({"data_parallel_size": 5})


def test_a_group_that_the_space_has_not_is_refused() -> None:
    with pytest.raises(UsageError, match="--groups parallel: the search space cpu has no such group"):
        load_space("cpu").with_groups([ALL, PARALLEL])
