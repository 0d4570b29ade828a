"""What limits a server, told by the real model of it, and the knobs that move the limit."""

from predict.asking import LLAMA_8B, SMALL, case, users
from tuner.decide.gain import LEAST_GAIN
from tuner.predict.advise.case import Case
from tuner.predict.advise.limits import Bottleneck, Limit, limit_of
from tuner.predict.prediction import Prediction
from tuner.types import Lengths, Params, Workload


def limit(asked: Case, params: Params) -> Limit:
    found = asked.predict(params)
    assert isinstance(found, Prediction)
    told = limit_of(asked, params, found, asked.predict)
    assert all(knob.gain is not None and knob.gain >= LEAST_GAIN for knob in told.knobs)
    return told


def test_few_sequences_and_many_users_are_the_batch_limit() -> None:
    asked = case("h200", LLAMA_8B, users(256))
    found = limit(asked, {**asked.default_params(), "max_num_seqs": 16})
    assert found.bottleneck is Bottleneck.BATCH
    assert [(knob.name, knob.value) for knob in found.knobs] == [("max_num_seqs", 64)]
    assert found.knobs[0].gain is not None
    assert found.knobs[0].gain > 0.2


def test_a_small_cache_and_many_users_are_the_kv_cache() -> None:
    long = Workload(
        name="long",
        api="chat",
        users=128,
        input_tokens=Lengths(low=512, high=512),
        output_tokens=Lengths(low=512, high=512),
    )
    asked = case("t4", LLAMA_8B, long, max_model_len=2048, quantization="fp8_per_tensor")
    found = limit(asked, {**asked.default_params(), "max_num_batched_tokens": 2048})
    assert found.bottleneck is Bottleneck.KV_CACHE
    assert "gpu_memory_utilization" in {knob.name for knob in found.knobs}


def test_long_prompts_and_short_answers_are_prefill() -> None:
    reading = Workload(
        name="r", api="chat", users=8, input_tokens=Lengths(low=4000, high=4000), output_tokens=Lengths(low=2, high=2)
    )
    assert limit(case("h200", LLAMA_8B, reading), {}).bottleneck is Bottleneck.PREFILL


def test_short_prompts_and_long_answers_are_decoding() -> None:
    writing = Workload(
        name="w", api="chat", users=8, input_tokens=Lengths(low=8, high=8), output_tokens=Lengths(low=100, high=100)
    )
    asked = case("l4", LLAMA_8B, writing, max_model_len=2048)
    found = limit(asked, asked.default_params())
    assert found.bottleneck is Bottleneck.DECODE
    assert [knob.name for knob in found.knobs] == ["quantization"]  # there is next to no KV cache to read


def test_a_small_model_on_a_large_card_is_the_host() -> None:
    asked = case("h200", SMALL, users(512))
    found = limit(asked, asked.default_params())
    assert found.bottleneck in (Bottleneck.HOST, Bottleneck.API_SERVER)
    assert "stream_interval" in {knob.name for knob in found.knobs}
