"""When a proposal would only repeat a trial, and when it would not."""

from dataclasses import replace

import pytest
from samples import failed, measured, trial

from tuner.decide.twins import became_text, twin_of
from tuner.types import Command, Outcome, Params, Resolved, Trial, Twin
from tuner.types.resolved import MAY_CHANGE

GRAPHS, BACKEND = "compilation_config.cudagraph_mode", "attention_backend"
#: As vLLM resolves its defaults on a card; what it makes of the backend it says when it starts.
USUAL: Params = {
    GRAPHS: "FULL_AND_PIECEWISE",
    "block_size": 16,
    "user_specified_block_size": False,
    "enable_chunked_prefill": True,
    "enable_prefix_caching": True,
}


def _asked(given: Params) -> tuple[Resolved, Command]:
    """What vLLM makes of these arguments: the digest is of all that no start changes."""
    settings = {**USUAL, **given, "user_specified_block_size": "block_size" in given}
    digest = ", ".join(f"{name}={value}" for name, value in sorted(settings.items()) if name not in MAY_CHANGE)
    return Resolved(settings=settings, digest=digest), Command(argv=(), model="m", settings=given)


def _trial(number: int, given: Params, effective: Params | None = None, outcome: Outcome | None = None) -> Trial:
    resolved, command = _asked(given)
    return replace(
        trial(number, outcome or measured(), params=given),
        resolved=resolved.settings,
        command=command,
        digest=resolved.digest,
        effective=effective or {},
    )


def _twin(given: Params, *trials: Trial) -> int | None:
    found = twin_of(*_asked(given), trials)
    return found.equals if found else None


FELL_BACK = {BACKEND: "FLASHINFER", GRAPHS: "FULL_AND_PIECEWISE"}


def test_what_resolves_alike_is_one_whatever_became_of_it() -> None:
    assert _twin({}, _trial(0, {}), _trial(1, {})) == 0
    assert _twin({"max_num_seqs": 8}, _trial(0, {})) is None
    assert _twin({"max_num_seqs": 8}, _trial(3, {"max_num_seqs": 8}, outcome=failed())) == 3
    assert _twin({GRAPHS: "FULL"}, _trial(0, {}), _trial(2, {GRAPHS: "FULL"}, FELL_BACK)) == 2


def test_what_was_never_launched_or_is_not_known_is_no_twin() -> None:
    refused = replace(_trial(1, {}), attempts=0)
    older = replace(_trial(2, {}), digest=None)
    assert _twin({}, refused, older) is None


@pytest.mark.parametrize("more", [{}, {"max_num_seqs": 8}, {"max_num_batched_tokens": 512, "stream_interval": 4}])
def test_a_mode_that_fell_back_is_the_mode_that_it_became(more: Params) -> None:
    """Also with other sizes of batches than those of the start that showed it."""
    defaults = _trial(0, more, {BACKEND: "FLASHINFER"})
    full = _trial(1, {GRAPHS: "FULL", "max_num_seqs": 99}, FELL_BACK)
    assert _twin({GRAPHS: "FULL", **more}, defaults, full) == 0
    found = twin_of(*_asked({GRAPHS: "FULL", **more}), [defaults, full])
    assert found == Twin(equals=0, why=f"{BACKEND} became FLASHINFER, {GRAPHS} FULL became FULL_AND_PIECEWISE")


def test_the_mode_that_another_became_is_not_launched_for_itself() -> None:
    full = _trial(1, {GRAPHS: "FULL"}, {GRAPHS: "FULL_DECODE_ONLY"})
    assert _twin({GRAPHS: "FULL_DECODE_ONLY"}, full) == 1
    assert _twin({GRAPHS: "PIECEWISE"}, full) is None


def test_a_mode_falls_back_for_settings_like_those_only() -> None:
    """Another backend, KV cache or speculation may run the full graph."""
    defaults = _trial(0, {}, {BACKEND: "FLASHINFER"})
    full = _trial(1, {GRAPHS: "FULL"}, FELL_BACK)
    for more in ({BACKEND: "TRITON_ATTN"}, {"kv_cache_dtype": "fp8"}, {"speculative_config.method": "ngram"}):
        alike = _trial(2, more)
        assert _twin({GRAPHS: "FULL", **more}, defaults, full, alike) is None


def test_the_backend_that_vllm_chose_need_not_be_asked_for() -> None:
    defaults = _trial(0, {}, {BACKEND: "FLASH_ATTN"})
    assert _twin({BACKEND: "FLASH_ATTN"}, defaults) == 0
    assert _twin({BACKEND: "TRITON_ATTN"}, defaults) is None
    assert _twin({BACKEND: "FLASH_ATTN"}, _trial(0, {})) is None


def test_the_block_size_that_vllm_chose_need_not_be_asked_for_once_a_start_has_shown_it() -> None:
    assert _twin({"block_size": 16}, _trial(0, {})) == 0
    assert _twin({"block_size": 16}, _trial(0, {}, outcome=failed())) is None  # it may have failed before it chose
    chose = _trial(0, {}, {"block_size": 64})
    assert _twin({"block_size": 64}, chose) == 0
    assert _twin({"block_size": 16}, chose) is None


def test_what_became_of_what_is_said_in_words() -> None:
    assert became_text({GRAPHS: "FULL"}, {GRAPHS: "NONE"}) == f"{GRAPHS} FULL became NONE"
