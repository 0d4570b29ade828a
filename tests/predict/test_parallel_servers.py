"""Servers of several GPUs: what each GPU holds, how fast a round of a pipeline is, and several copies behind one port."""

from dataclasses import replace

import pytest

from predict.asking import LLAMA_8B, users
from predict.shapes import H200
from tuner.predict.copies import Copies, make_server
from tuner.predict.decoder import Experts, Shape
from tuner.predict.memory import Memory, predict_memory
from tuner.predict.prediction import Prediction, predict
from tuner.predict.settings import LATEST, Settings, Version, resolve
from tuner.predict.sharing import of_a_rank
from tuner.predict.step import Steps
from tuner.space.files import load_space
from tuner.space.gpus import Gpu
from tuner.types import Failed, Params, present

H100, L4 = load_space("h100-80gb").gpu, load_space("l4").gpu
TP, PP, DP = "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"
MOE = replace(LLAMA_8B, experts=Experts(count=64, active=4, intermediate=1024, shared_intermediate=0, layers=32))
GIB = 2**30


def settled(params: Params, shape: Shape = LLAMA_8B, gpu: Gpu = H100, version: Version = LATEST) -> Settings:
    found = resolve({"max_model_len": 8192, **params}, shape, gpu, version)
    assert not isinstance(found, Failed), found.message
    return found


def memory(params: Params, shape: Shape = LLAMA_8B, gpu: Gpu = H100, version: Version = LATEST) -> Memory:
    return predict_memory(shape, gpu, settled(params, shape, gpu, version), version=version)


def served(params: Params, shape: Shape = LLAMA_8B, gpu: Gpu = H100, count: int = 64) -> Prediction:
    found = predict(shape, gpu, {"max_model_len": 8192, **params}, users(count), requests=150)
    assert isinstance(found, Prediction), found
    return found


def output(found: Prediction) -> float:
    return present(found.load.output_throughput)


@pytest.mark.parametrize(
    ("version", "low", "high"), [((0, 19), 2.06, 2.21), ((0, 11), 0.52, 0.56), (LATEST, 0.5, 0.55)]
)
@pytest.mark.parametrize("size", [2, 4])
def test_what_is_neither_weights_nor_activations_is_that_of_public_logs(
    version: Version, low: float, high: float, size: int
) -> None:
    """vLLM 0.19 on Hopper keeps FlashInfer's workspace for all-reduce: "non-torch" is 2.06 to 2.21 GiB with 2 to 4 GPUs."""
    kept = 0.0 if version < (0, 28) else settled({TP: size}).max_num_seqs * LLAMA_8B.vocab * 4.125
    assert low <= (memory({TP: size}, version=version).other_bytes - kept) / GIB <= high


def test_a_stage_has_its_layers_and_one_table() -> None:
    one, two, four = (memory({PP: stages}) for stages in (1, 2, 4))
    assert LLAMA_8B.head_parameters * 2 / GIB == pytest.approx(0.98, abs=0.01)
    assert two.weights_bytes / GIB == pytest.approx((one.weights_bytes / GIB - 2 * 0.98) / 2 + 0.98, abs=0.1)
    assert four.kv_bytes_per_token * 4 == two.kv_bytes_per_token * 2 == one.kv_bytes_per_token
    assert four.kv_cache_tokens > two.kv_cache_tokens > 2 * one.kv_cache_tokens


@pytest.mark.parametrize(("stages", "layers"), [(2, 16), (3, 11), (5, 7), (32, 1)])
def test_the_fullest_stage_counts(stages: int, layers: int) -> None:
    found = of_a_rank(LLAMA_8B, settled({PP: stages}))
    assert (found.layers, found.tied) == (layers, True)


def test_files_are_divided_as_the_layers_are() -> None:
    known = replace(LLAMA_8B, stored_bytes=2 * LLAMA_8B.parameters)
    assert memory({PP: 4}, known).weights_bytes == pytest.approx(memory({PP: 4}).weights_bytes, rel=0.01)


def test_more_stages_than_layers_are_refused() -> None:
    found = resolve({PP: 33}, LLAMA_8B, H100)
    assert isinstance(found, Failed)
    assert "32 layers are fewer than 33 pipeline stages" in found.message


def test_copies_are_whole_but_share_the_experts() -> None:
    assert memory({DP: 4}) == replace(memory({}), kv_cache_tokens=memory({DP: 4}).kv_cache_tokens)
    one, four = memory({}, MOE), memory({DP: 4}, MOE)
    experts = MOE.expert_parameters * 2
    assert one.weights_bytes - four.weights_bytes == pytest.approx(experts * 3 / 4, rel=0.02)


def test_a_full_pipeline_makes_as_many_tokens_as_its_slowest_stage() -> None:
    whole, piped = (Steps(shape=LLAMA_8B, gpu=H100, settings=settled({PP: n})) for n in (1, 2))
    alone = piped.step(1, 1000, ()).gpu_s
    assert alone == pytest.approx(whole.step(1, 1000, ()).gpu_s, rel=0.02)  # one sequence passes all layers as before
    many = piped.step(64, 64_000, ()).gpu_s
    assert whole.step(64, 64_000, ()).gpu_s * 0.8 < many < 2 * whole.step(32, 32_000, ()).gpu_s


def test_links_over_pcie_are_slower() -> None:
    def collectives_s(gpu: Gpu) -> float:
        steps = Steps(shape=LLAMA_8B, gpu=gpu, settings=settled({TP: 2}, gpu=gpu))
        return steps._collectives_s(4096)

    sent = 2 * 32 * 4096 * 4096 * 2  # bytes through each link of a ring of two: 2 (n - 1) / n of all, twice a layer
    assert collectives_s(H200) == pytest.approx(64 * 10e-6 + sent / 250e9)
    assert collectives_s(L4) == pytest.approx(64 * 30e-6 + sent / 20e9)


def test_two_copies_serve_as_two_servers_with_half_of_the_users() -> None:
    one, two = served({}, count=32), served({DP: 2}, count=64)
    assert output(two) == pytest.approx(2 * output(one), rel=0.05)
    assert present(two.load.gpus) == 2
    assert two.running_mean == pytest.approx(2 * one.running_mean, rel=0.1)
    assert max(two.gpu_busy, two.host_busy, two.front_busy) <= 1.0


def test_api_servers_are_shared_by_the_copies() -> None:
    assert settled({DP: 4}).api_server_count == 4
    one, four = (served({DP: 4, "api_server_count": n}, count=256) for n in (1, 4))
    assert one.front_busy > 1.2 * four.front_busy
    assert output(one) < output(four)


def test_requests_go_to_the_copy_with_the_fewest_and_end_once() -> None:
    settings = settled({DP: 3})
    found = make_server(LLAMA_8B, H100, settings, predict_memory(LLAMA_8B, H100, settings))
    assert isinstance(found, Copies)
    for number in range(30):
        found.submit(number, 200, 10 + number, number * 0.001, every=4)
    found.abort(29)
    events = found.advance(1e9)
    assert [event.time_s for event in events] == sorted(event.time_s for event in events)
    for number in range(29):
        mine = [event for event in events if event.number == number]
        assert sum(event.tokens for event in mine) == 10 + number
        assert [event.finished for event in mine].count(True) == 1
    assert all(event.number != 29 for event in events)
    assert (found.running, found.waiting, found.next_s) == (0, 0, None)


def test_the_same_question_has_the_same_answer() -> None:
    params = {TP: 2, PP: 2, DP: 2}
    assert served(params) == served(params)
    assert served(params).settings.gpus == 8
    assert served({TP: 1, PP: 1, DP: 1}) == served({})
