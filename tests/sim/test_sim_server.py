"""The server as its clients see it, by what reads vLLM: the load generator's stream parser, its tokenizer, and its measurement.

On a clock that the test sets, the times are exactly those of tuner.predict."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace

import aiohttp
import pytest
from simulating import MODEL, Client, Stepped, Wire, simulated
from waiting import in_a_calm_moment

from tuner.load.stream import EventStream
from tuner.load.tokenizer import learn_alphabet
from tuner.predict.conversations import conversations
from tuner.predict.memory import predict_memory
from tuner.predict.prediction import Prediction, predict
from tuner.predict.settings import Settings, resolve
from tuner.predict.shape import read_shape
from tuner.space.files import load_space
from tuner.study.measurement import Watched, measure
from tuner.types import Lengths, Measured, Target, Workload, present
from tuner.workload.presets import PRESETS

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
WORDS = [{"role": "user", "content": "w300 w301"}]


def read(data: bytes) -> EventStream:
    stream = EventStream(keep=True)
    stream.feed(data, 0.0)
    return stream


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with simulated("--max-model-len", "4096") as found:
        yield found


@pytest.mark.parametrize(("path", "prompt"), [(CHAT, {"messages": WORDS}), (TEXT, {"prompt": [300, 301]})])
@pytest.mark.parametrize("tokens", [1, 2, 17, 200])
def test_a_stream_has_the_tokens_that_were_asked_for(
    client: Client, path: str, prompt: dict[str, object], tokens: int
) -> None:
    fields = {"max_tokens": tokens, "min_tokens": tokens, "ignore_eos": True, "stream_options": {"include_usage": True}}
    status, data = client.ask("POST", path, {"stream": True, **prompt, **fields})
    assert status == 200
    stream = read(data)
    assert stream.finish().completion_tokens == tokens
    assert len(stream.text().split()) == tokens
    events = [json.loads(event.removeprefix(b"data: ")) for event in data.split(b"\n\n")[:-2]]
    reasons = [choice["finish_reason"] for event in events for choice in event["choices"]]
    assert reasons == [None] * (len(reasons) - 1) + ["length"]


def test_usage_can_come_with_every_event_or_not_at_all(client: Client) -> None:
    fields = {"prompt": "w300 w301", "max_tokens": 40, "ignore_eos": True}
    running = {"include_usage": True, "continuous_usage_stats": True}
    events = client.stream(TEXT, **fields, stream_options=running)
    told = [event["usage"]["completion_tokens"] for event in events]
    assert told == sorted(told)
    assert told[0] == 1
    assert told[-1] == 40
    assert all("usage" not in event for event in client.stream(TEXT, **fields))


def test_without_a_stream_the_answer_comes_whole(client: Client) -> None:
    found = client.json("POST", CHAT, {"model": MODEL, "messages": WORDS, "max_tokens": 5, "ignore_eos": True})
    assert found["usage"]["completion_tokens"] == 5
    assert len(found["choices"][0]["message"]["content"].split()) == 5
    assert found["system_fingerprint"] == "simulated"


def test_an_answer_that_may_end_by_itself_does(client: Client) -> None:
    found = client.json("POST", CHAT, {"messages": WORDS})
    assert found["choices"][0]["finish_reason"] == "stop"
    least = client.json("POST", CHAT, {"messages": WORDS, "min_tokens": 300})
    assert least["usage"]["completion_tokens"] == 300
    assert client.json("POST", TEXT, {"prompt": "a"})["usage"]["completion_tokens"] == 16  # as vLLM


@pytest.mark.parametrize(
    ("path", "body", "status", "why"),
    [
        (TEXT, {"prompt": [300] * 5000}, 400, "This model's maximum context length is 4096 tokens"),
        (TEXT, {"prompt": "a", "max_tokens": 0}, 400, "max_tokens must be at least 1, got 0."),
        (TEXT, {"prompt": "a", "model": "other"}, 404, "The model `other` does not exist."),
        (TEXT, {"prompt": [10**9]}, 400, "out of vocabulary"),
        (TEXT, {"prompt": ["a", "b"]}, 400, "one prompt a request"),
        (TEXT, {}, 400, "prompt"),
        (CHAT, {"messages": "hello"}, 400, "cannot be read"),
        (CHAT, b"{", 400, "not JSON"),
    ],
)
def test_what_is_refused_is_refused_as_vllm_does(
    client: Client, path: str, body: object, status: int, why: str
) -> None:
    code, data = client.ask("POST", path, body)
    error = json.loads(data)["error"]
    assert (code, error["code"]) == (status, status)
    assert error.keys() == {"message", "type", "param", "code"}
    assert why in error["message"]


def test_the_load_generator_learns_its_words(client: Client) -> None:
    async def learn(workload: Workload) -> tuple[int, int]:
        async with aiohttp.ClientSession() as session:
            alphabet = await learn_alphabet(session, Target(base_url=client.url, model=MODEL), workload)
        return len(alphabet.words), alphabet.chat_overhead_tokens

    words, overhead = asyncio.run(learn(PRESETS["chat"]))
    assert words == 2048
    assert overhead > 0


def test_a_client_that_leaves_frees_its_request(client: Client) -> None:
    gone = Client(client.url)
    body = json.dumps({"prompt": "a", "max_tokens": 4000, "ignore_eos": True, "stream": True})
    gone.connection.request("POST", TEXT, body)
    assert gone.connection.getresponse().read(10)
    assert 'vllm:num_requests_running{engine="0"' in client.ask("GET", "/metrics")[1].decode()
    gone.connection.close()
    for _ in range(100):
        page = client.ask("GET", "/metrics")[1].decode()
        if 'finished_reason="abort"} 1.0' in page:
            break
    assert f'num_requests_running{{engine="0",model_name="{MODEL}"}} 0.0' in page


# on a clock of the test's own


def closed_loop(stepped: Stepped, workload: Workload, requests: int) -> dict[str, float]:
    """The mean latencies of `requests` requests of the workload's users, by the test's clock, after as many for the warm-up."""
    asks = [conversations(workload, user) for user in range(workload.users or 1)]
    found: list[tuple[float, float, float]] = []
    again: list[Wire] = []
    wires = [Wire(lambda: stepped.now_s, again.append) for _ in asks]
    users = {wire: user for user, wire in enumerate(wires)}
    again.extend(wires)
    while len(found) < 2 * requests:
        while again:
            wire = again.pop()
            if wire.sent:  # the head of the answer, its first tokens, and so on
                began_s, first_s, last_s = wire.times_s[0], wire.times_s[1], wire.times_s[-1]
                tokens = int(wire.sent[-1].split(b'"completion_tokens":')[1].split(b"}")[0])
                found.append((first_s - began_s, (last_s - first_s) / (tokens - 1), last_s - began_s))
                wire.sent.clear()
                wire.times_s.clear()
            ask = next(asks[users[wire]])
            fields = {"max_tokens": max(2, ask.output_tokens), "ignore_eos": True, "stream": True}
            prompt = [300] * ask.input_tokens
            stepped.post(wire, TEXT, prompt=prompt, **fields, stream_options={"include_usage": True})
        stepped.step()
    sums = [sum(values) * stepped.speed / requests for values in zip(*found[-requests:], strict=True)]
    return dict(zip(("ttft", "tpot", "e2el"), sums, strict=True))


@pytest.mark.parametrize(("gpu", "engines"), [("t4", 1), ("h200", 1), ("h200", 2)])
def test_at_real_speed_the_times_are_those_that_are_predicted(gpu: str, engines: int) -> None:
    """Without noise: within 2 %, TTFT within 10 %, and E2E within 4 %: the requests are not the same ones."""
    params = {**load_space(gpu).fixed, "enable_prefix_caching": False, "engines_per_gpu": engines}
    workload = replace(PRESETS["newton-32"], output_tokens=Lengths(low=64, high=192))
    predicted = predict(read_shape(MODEL), load_space(gpu).gpu, params, workload, requests=400)
    assert isinstance(predicted, Prediction)
    assert predicted.load.tpot_s is not None
    found = closed_loop(Stepped(gpu, params), workload, 400)
    assert found["tpot"] == pytest.approx(predicted.load.tpot_s.mean, rel=0.02)
    assert found["e2el"] == pytest.approx(present(present(predicted.load.e2el_s).mean), rel=0.04)
    assert found["ttft"] == pytest.approx(present(present(predicted.load.ttft_s).mean), rel=0.1)


def test_a_faster_clock_changes_no_latency() -> None:
    params = {**load_space("t4").fixed, "enable_prefix_caching": False}
    workload = replace(PRESETS["newton-32"], users=16, output_tokens=Lengths(low=64, high=192))
    one, fifty = (closed_loop(Stepped("t4", params, speed), workload, 300) for speed in (1.0, 50.0))
    assert fifty["tpot"] == pytest.approx(one["tpot"], rel=0.01)
    assert fifty["e2el"] == pytest.approx(one["e2el"], rel=0.02)
    assert fifty["ttft"] == pytest.approx(one["ttft"], rel=0.03)


def test_chunks_are_as_long_as_stream_interval_says() -> None:
    stepped = Stepped("t4", {**load_space("t4").fixed, "stream_interval": 8})
    wire = Wire()
    stepped.post(wire, TEXT, prompt="a", max_tokens=33, ignore_eos=True, stream=True)
    while stepped.step():
        pass
    events = [data for data in wire.sent if data.find(b"data: {") >= 0]
    assert [event.count(b" w300") for event in events] == [1, 8, 8, 8, 8]


def test_prompts_that_begin_alike_are_found_in_the_cache() -> None:
    def hits(**params: bool) -> float:
        stepped = Stepped("t4", {**load_space("t4").fixed, **params})
        for number in range(3):
            stepped.post(
                Wire(), TEXT, prompt=[300] * 256 + [400 + number] * 50, max_tokens=4, ignore_eos=True, stream=True
            )
            while stepped.step():
                pass
        page = stepped.server._page().decode()
        return float(page.split("vllm:prefix_cache_hits_total{")[1].split("} ")[1].split("\n")[0])

    assert hits(enable_prefix_caching=True) == 512
    assert hits(enable_prefix_caching=False) == 0


def test_one_process_stands_for_all_engines_that_share_a_gpu() -> None:
    shared = ("--data-parallel-size", "2", "--data-parallel-size-local", "1", "--gpu-memory-utilization", "0.4")
    with simulated("--max-model-len", "4096", *shared, "--kv-cache-memory-bytes", "1G") as client:
        fields = {"prompt": "w300 w301", "max_tokens": 9, "ignore_eos": True}
        assert client.json("POST", TEXT, fields)["usage"]["completion_tokens"] == 9
        assert b'gpu_memory_utilization="0.4"' in client.ask("GET", "/metrics")[1]


# and in real time: what the load generator measures of a process, with its noise


@in_a_calm_moment
def test_what_is_measured_is_what_is_predicted() -> None:
    """Within 10 % of throughput and TPOT; TTFT within 30 ms, for a busy machine."""
    workload = replace(PRESETS["newton-32"], users=8, warmup_s=1.0, window_s=4.0, max_window_s=8.0, precision=0.2)
    space = load_space("t4")
    predicted = predict(read_shape(MODEL), space.gpu, space.fixed, workload)
    assert isinstance(predicted, Prediction)

    async def run(url: str) -> Measured:
        return await measure(Target(base_url=url, model=MODEL), workload, watched=Watched(speed=1.0))

    with simulated("--dtype", "half", speed=1.0) as client:
        found = asyncio.run(run(client.url))
    assert found.load.tpot_s is not None
    assert predicted.load.tpot_s is not None
    assert found.load.output_throughput == pytest.approx(predicted.load.output_throughput, rel=0.1)
    assert found.load.tpot_s.mean == pytest.approx(predicted.load.tpot_s.mean, rel=0.1)
    assert present(present(found.load.ttft_s).mean) == pytest.approx(
        present(present(predicted.load.ttft_s).mean), abs=0.03
    )
    assert found.load.chunk_tokens == 1.0
    assert found.load.failed == 0
    assert found.server is not None
    assert found.server.agreement == pytest.approx(1.0, abs=0.05)
    settings = resolve(space.fixed, read_shape(MODEL), space.gpu)
    assert isinstance(settings, Settings)
    assert found.kv_cache_tokens == predict_memory(read_shape(MODEL), space.gpu, settings).kv_cache_tokens
