from pathlib import Path

import pytest

from tuner.launch.speculating import cache_of

MODEL = ("vllm", "serve", "a-model", "--max-num-seqs", "8")
HERE = {"VLLM_CACHE_ROOT": "/caches/vllm"}
_NGRAM = ("--speculative-config.method", "ngram")


@pytest.mark.parametrize(
    "flags",
    [
        (*_NGRAM, "--speculative-config.num_speculative_tokens", "3"),
        (*_NGRAM, "--speculative-config.num_speculative_tokens=3"),
        ("--speculative_config.method=ngram", "--speculative_config.num_speculative_tokens=3"),
        ("--speculative-config", '{"method": "ngram", "num_speculative_tokens": 3}'),
        ('--speculative-config={"method": "ngram", "num_speculative_tokens": 3}',),
        ("-sc", '{"model": "a-draft", "num_speculative_tokens": 3}'),
        ("--spec-method", "ngram", "--spec-tokens", "3"),
        ("--spec-model", "a-draft", "--spec-tokens=3"),
    ],
)
def test_each_number_of_drafted_tokens_has_a_folder_of_its_own_however_it_is_said(flags: tuple[str, ...]) -> None:
    assert cache_of((*MODEL, *flags), HERE) == {"VLLM_CACHE_ROOT": "/caches/vllm/speculative-3"}
    other = tuple(word.replace("3", "4") for word in flags)
    assert cache_of((*MODEL, *other), HERE) == {"VLLM_CACHE_ROOT": "/caches/vllm/speculative-4"}


@pytest.mark.parametrize(
    "text",
    [
        "speculative-config: {method: ngram, num_speculative_tokens: 3}\n",
        'speculative-config: \'{"method": "ngram", "num_speculative_tokens": 3}\'\n',
        "speculative_config: {method: ngram, num_speculative_tokens: 3}\n",
        "spec-method: ngram\nspec-tokens: 3\n",
        "speculative-config.method: ngram\nspeculative-config.num_speculative_tokens: 3\n",
    ],
)
def test_so_has_what_a_file_for_vllm_says(text: str, tmp_path: Path) -> None:
    (tmp_path / "server.yaml").write_text(f"model: a-model\n{text}")
    argv = ("vllm", "serve", "--config", str(tmp_path / "server.yaml"))
    assert cache_of(argv, HERE) == {"VLLM_CACHE_ROOT": "/caches/vllm/speculative-3"}


def test_a_server_that_does_not_speculate_keeps_the_cache_of_all(tmp_path: Path) -> None:
    (tmp_path / "server.yaml").write_text("model: a-model\nspeculative-config: null\n")
    assert cache_of(MODEL, HERE) == {}
    assert cache_of(("vllm", "serve", "--config", str(tmp_path / "server.yaml")), HERE) == {}
    assert cache_of(("vllm", "serve", "--config", str(tmp_path / "missing.yaml")), HERE) == {}


def test_a_number_that_is_not_said_is_one_of_its_own() -> None:
    found = cache_of((*MODEL, "--speculative-config", '{"model": "a-draft"}'), HERE)
    assert found == {"VLLM_CACHE_ROOT": "/caches/vllm/speculative-default"}


def test_it_is_inside_the_place_that_the_user_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    argv = (*MODEL, *_NGRAM, "--spec-tokens", "2")
    monkeypatch.setenv("VLLM_CACHE_ROOT", "/mine")
    assert cache_of(argv, {}) == {"VLLM_CACHE_ROOT": "/mine/speculative-2"}
    assert cache_of(argv, HERE) == {"VLLM_CACHE_ROOT": "/caches/vllm/speculative-2"}
    monkeypatch.delenv("VLLM_CACHE_ROOT")
    assert cache_of(argv, {})["VLLM_CACHE_ROOT"].endswith(".cache/vllm/speculative-2")
