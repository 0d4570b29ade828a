"""Arguments of CUDA graphs, attention and speculation, by each of vLLM's spellings, as settings that the prediction knows."""

from typing import Any

import pytest

from predict.shapes import H200, SMALL
from tuner.errors import UsageError
from tuner.predict.settings import Settings, capture_sizes, resolve
from tuner.types import Failed, Params

MODE = "compilation_config.cudagraph_mode"
NGRAM: Params = {"speculative_config.method": "ngram", "speculative_config.num_speculative_tokens": 3}


def settled(params: Params) -> Settings:
    found = resolve(params, SMALL, H200)
    assert isinstance(found, Settings), found
    return found


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({}, {"cudagraph_mode": "FULL_AND_PIECEWISE", "attention_backend": None, "speculative_method": None}),
        ({MODE: "full_decode_only"}, {"cudagraph_mode": "FULL_DECODE_ONLY"}),
        ({"compilation_config": '{"cudagraph_mode": "NONE"}'}, {"cudagraph_mode": "NONE"}),
        ({MODE: "FULL", "enforce_eager": True}, {"cudagraph_mode": "NONE"}),
        ({"cudagraph_capture_sizes": "[4, 1, 4]"}, {"cudagraph_capture_sizes": (1, 4)}),
        (
            {"compilation_config": '{"cudagraph_capture_sizes": [8], "max_cudagraph_capture_size": null}'},
            {"cudagraph_capture_sizes": (8,)},
        ),
        ({"compilation_config.max_cudagraph_capture_size": 128}, {"max_cudagraph_capture_size": 128}),
        ({"attention_backend": "none"}, {"attention_backend": None}),
        ({"attention_backend": "auto"}, {"attention_backend": None}),
        ({"attention_config.backend": "triton_attn"}, {"attention_backend": "TRITON_ATTN"}),
        ({"long_prefill_token_threshold": 512}, {"long_prefill_token_threshold": 512}),
        (NGRAM, {"speculative_method": "ngram", "speculative_tokens": 3, "speculative_acceptance_length": None}),
        ({"spec_method": "ngram", "spec_tokens": 2}, {"speculative_method": "ngram", "speculative_tokens": 2}),
        (
            {"speculative_config": '{"method": "eagle3", "model": "a/b", "num_speculative_tokens": 4}'},
            {"speculative_method": "eagle3", "speculative_tokens": 4},
        ),
        (
            {"speculative_config.model": "a/b", "speculative_config.num_speculative_tokens": 4},
            {"speculative_method": "draft_model", "speculative_tokens": 4},
        ),
        (
            {"speculative_config.method": "none", "speculative_config.num_speculative_tokens": 4},
            {"speculative_tokens": 0},
        ),
        ({"speculative_config.method": "mtp"}, {"speculative_method": "mtp", "speculative_tokens": 1}),
        (
            {**NGRAM, "speculative_config.synthetic_acceptance_length": 2},
            {"speculative_acceptance_length": 2.0},
        ),
        (
            {**NGRAM, "speculative_config.synthetic_acceptance_rates": "[0.5, 0.25, 0.25]"},
            {"speculative_acceptance_length": 2.0},
        ),
    ],
)
def test_each_spelling_is_the_same_setting(params: Params, fields: dict[str, Any]) -> None:
    found = settled(params)
    assert {name: getattr(found, name) for name in fields} == fields
    assert settled(found.params) == found


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({MODE: "WHOLE"}, "'WHOLE' is not one of NONE, PIECEWISE"),
        ({"cudagraph_capture_sizes": "[]"}, "at least one element"),
        ({"cudagraph_capture_sizes": "[1, true]"}, "invalid int value: True"),
        ({"max_cudagraph_capture_size": 0}, "greater than or equal to 1"),
        ({"max_cudagraph_capture_size": "many"}, "invalid int value: 'many'"),
        ({"max_cudagraph_capture_size": 8, "cudagraph_capture_sizes": "[1, 4]"}, "should be consistent"),
        ({"long_prefill_token_threshold": -1}, "greater than or equal to 0"),
        ({"long_prefill_token_threshold": 40_000}, "cannot be greater than the max_model_len (32768)"),
        ({"long_prefill_token_threshold": "512"}, "invalid int value"),
        ({"speculative_config.method": "ngram"}, "num_speculative_tokens must be provided"),
        ({**NGRAM, "speculative_config.num_speculative_tokens": 2.5}, "is not a whole number"),
        ({**NGRAM, "speculative_config.synthetic_acceptance_length": 9}, r"must be in [1, 4], got 9"),
    ],
)
def test_what_vllm_refuses_of_them_is_refused(params: Params, said: str) -> None:
    found = resolve(params, SMALL, H200)
    assert isinstance(found, Failed)
    assert said in found.message


@pytest.mark.parametrize("params", [{"compilation_config": '{"level": 3}'}, {"compilation_config.splitting_ops": "[]"}])
def test_the_rest_of_a_config_is_not_guessed(params: Params) -> None:
    with pytest.raises(UsageError, match=r"compilation_config.*cannot tell"):
        resolve(params, SMALL, H200)


@pytest.mark.parametrize(
    ("params", "sizes"),
    [
        ({MODE: "NONE"}, ()),
        ({"cudagraph_capture_sizes": "[64, 1]"}, (1, 64)),
        ({"cudagraph_capture_sizes": "[64, 4096]", "max_num_batched_tokens": 2048}, (64,)),
        ({"max_num_seqs": 4, "max_cudagraph_capture_size": 20}, (1, 2, 4, 8, 16)),
        ({"max_num_seqs": 3, **NGRAM}, (1, 2, 4, 8, 12, 16, 24)),
    ],
)
def test_graphs_are_captured_for_the_sizes_that_are_asked_for(params: Params, sizes: tuple[int, ...]) -> None:
    assert capture_sizes(settled(params)) == sizes
