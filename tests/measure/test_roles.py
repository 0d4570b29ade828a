"""Titles as vLLM gives them, and who of a server was busy."""

import os

import pytest

from tuner.measure.roles import Role, by_role, role_of, titled


@pytest.mark.parametrize(
    ("title", "role"),
    [
        ("VLLM::EngineCore", Role.ENGINE_CORE),
        ("VLLM::EngineCore_DP1", Role.ENGINE_CORE),
        ("VLLM::EngineCor", Role.ENGINE_CORE),  # as the kernel keeps it
        ("mine::EngineCore   ", Role.ENGINE_CORE),
        ("VLLM::Worker_TP0", Role.WORKER),
        ("VLLM::APIServer_1", Role.API_SERVER),
        ("VLLM::ApiServer_0", Role.API_SERVER),
        ("VLLM::DPCoordinator", Role.OTHER),
        ("python", Role.OTHER),
        ("/opt/a b::EngineCore/python", Role.OTHER),
        ("", Role.OTHER),
    ],
)
def test_a_title_names_the_part(title: str, role: Role) -> None:
    assert titled(title) is role


def test_what_is_no_process_of_vllm_has_no_part() -> None:
    assert role_of(os.getpid()) is Role.OTHER
    assert role_of(2**22 + 1) is Role.OTHER


def test_the_busiest_of_each_part_counts() -> None:
    found = by_role(
        {
            1: (Role.OTHER, 0.01),
            2: (Role.ENGINE_CORE, 0.9),
            3: (Role.API_SERVER, 0.2),
            4: (Role.API_SERVER, 0.6),
            5: (Role.WORKER, 0.3),
            6: (Role.WORKER, 0.8),
        }
    )
    assert (found.engine_core, found.api_server_max, found.api_servers, found.worker_max) == (0.9, 0.6, 2, 0.8)


def test_a_single_api_server_has_no_title_and_is_busier_than_its_guard() -> None:
    found = by_role({1: (Role.OTHER, 0.0), 2: (Role.OTHER, 0.7), 3: (Role.ENGINE_CORE, 1.0)})
    assert (found.engine_core, found.api_server_max, found.api_servers) == (1.0, 0.7, 1)
    alone = by_role({1: (Role.OTHER, 0.0), 2: (Role.OTHER, 1.0)})
    assert (alone.engine_core, alone.api_server_max, alone.api_servers, alone.worker_max) == (None, 1.0, 1, None)
    nobody = by_role({})
    assert (nobody.engine_core, nobody.api_server_max, nobody.api_servers, nobody.worker_max) == (
        None,
        None,
        None,
        None,
    )
