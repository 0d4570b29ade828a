"""A command line says what the options say, and nothing of where the database is."""

from pathlib import Path

from typer.main import get_command

from tuner.cli.commands import app
from tuner.study.flags import environment, flags
from tuner.study.options import Options

SAID = Options(
    gpu="t4",
    trials=7,
    storage="postgresql://u:secret@h/d",
    objective=("throughput", "ttft_p99"),
    baseline=("--max-num-seqs 8\n--enforce-eager",),
    lossless=True,
    log_dir=Path("-odd"),
    study="--odd",
)


def test_the_words_read_back_what_was_said() -> None:
    words = flags(SAID)
    assert not any("secret" in word for word in words)
    read = get_command(app).commands["optimize"].make_context("optimize", words).params  # type: ignore[attr-defined]
    for name in ("gpu", "trials", "objective", "baseline", "lossless", "log_dir", "study"):
        given, said = read[name], getattr(SAID, name)
        assert (
            tuple(given) if isinstance(given, list) else type(said)(given)
        ) == said  # typer itself makes paths of words
    assert flags(Options()) == []
    assert "--trials=7" not in flags(SAID, without=("trials",))


def test_what_the_environment_says_beside_is_not_heard() -> None:
    mine = {"PATH": "/bin", "TUNER_TRIALS": "50", "TUNER_CONFIG": "x.yaml", "TUNER_DEBUG": "1", "HF_TOKEN": "hf_x"}
    assert environment(SAID, mine) == {
        "PATH": "/bin",
        "TUNER_DEBUG": "1",
        "HF_TOKEN": "hf_x",
        "TUNER_STORAGE": SAID.storage,
    }
