"""What a request may name: the allow file, the limits, and the options that come of it."""

from pathlib import Path

import pytest

from tuner.errors import UsageError
from tuner.launch.demo_model import make_demo_model
from tuner.serve.allowed import Allowed, allowed
from tuner.serve.asked import StudyAsked
from tuner.serve.refused import Refused
from tuner.serve.shown import Limits
from tuner.space.files import shipped_spaces
from tuner.study.options import DEFAULT_MODEL, Options

ASKED = StudyAsked(gpu="t4", study="a")
FILE = """
models: {mine: /models/mine, hub: org/model}
gpus: [t4]
spaces: {own: own.yaml}
workloads: {ours: ours.yaml}
engines: [sim]
engine_args: [load_format]
secrets: [TEAM_TOKEN]
limits: {trials: 7, hours: 2, users: 9}
"""


@pytest.fixture
def file(tmp_path: Path, demo_model: Path) -> Path:
    (tmp_path / "own.yaml").write_text(shipped_spaces()["l4"].read_text())
    (tmp_path / "ours.yaml").write_text("api: chat\nusers: 3\ninput_tokens: 64\noutput_tokens: 32\n")
    path = tmp_path / "allow.yaml"
    path.write_text(FILE.replace("/models/mine", str(demo_model)))
    return path


def test_without_a_file_what_comes_with_tuner_is_allowed() -> None:
    may = Allowed()
    asked = may.options(may.complete(ASKED))
    assert asked.options == Options(gpu="t4", study="a", engine="vllm")
    assert (asked.options.model, asked.card, asked.hf_token) == (DEFAULT_MODEL, "t4", None)
    assert may.options(StudyAsked(gpu="t4", study="a", engine="sim")).card == "sim t4"
    assert may.study_name(StudyAsked(gpu="t4", engine="sim")) == "sim-t4-DeepSeek-R1-Distill-Qwen-1.5B-chat"


def test_names_stand_for_what_the_file_says(file: Path, demo_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_TOKEN", "hf_secret")
    may = allowed(file, [])
    found = may.options(
        StudyAsked(
            model="mine",
            gpu="own",
            workload="ours",
            study="a",
            max_hours=1,
            trials=7,
            engine_arg=("load_format=dummy",),
            groups=("batch",),
            hf_token="TEAM_TOKEN",
        )
    )
    options = found.options
    assert (options.model, options.space, options.gpu) == (str(demo_model), file.parent / "own.yaml", "auto")
    assert (options.workload, options.engine, options.groups) == (str(file.parent / "ours.yaml"), "sim", "batch")
    assert (found.hf_token, options.engine_arg) == ("TEAM_TOKEN", ("load_format=dummy",))
    shown = may.shown()
    assert (shown.models, [gpu.name for gpu in shown.gpus], shown.engines) == (("mine", "hub"), ["t4", "own"], ("sim",))
    assert "hf_secret" not in repr(shown)
    assert str(file.parent) not in repr(shown)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"model": "DeepSeek-R1-Distill-Qwen-1.5B"}, "model: .* is not allowed here: choose one of mine, hub"),
        ({"gpu": "l4"}, "gpu: l4 is not allowed here: choose one of t4, own"),
        ({"gpu": "own.yaml"}, "gpu: own.yaml is not allowed here"),
        ({"workload": "ours.yaml"}, r"workload: ours.yaml is not allowed here \(did you mean 'ours'\?\)"),
        ({"engine": "vllm"}, "engine: vllm is not allowed here: choose one of sim"),
        (
            {"engine_arg": ("trust_remote_code=true",)},
            "engine_arg: trust_remote_code is not allowed here: load_format are",
        ),
        ({"trials": 8}, "trials is 8, and 7 are the most here"),
        ({"users": 10}, "users is 10, and 9 are the most here"),
        ({"max_hours": 3}, "max_hours is 3, and 2 are the most here"),
        ({"max_hours": None}, "max_hours: say how many hours it may take, 2 at the most here"),
        ({"hf_token": "HOME"}, "hf_token: HOME is not allowed here: choose one of TEAM_TOKEN"),
        ({"hf_token": "TEAM_TOKEN"}, "the service has no variable TEAM_TOKEN"),
        ({"objective": ("speed",)}, "unknown objective 'speed'"),
        ({"verify": 1}, "--verify 1 cannot tell a gain"),
    ],
)
def test_what_is_not_allowed_is_refused_in_a_sentence(file: Path, more: dict[str, object], sentence: str) -> None:
    may = allowed(file, [])
    said = {"gpu": "t4", "study": "a", "max_hours": 1, "trials": 3, **more}
    with pytest.raises(Refused, match=sentence) as caught:
        may.options(may.complete(StudyAsked.model_validate(said)))
    assert str(file.parent) not in str(caught.value)


def test_a_model_that_is_gone_is_not_told_by_its_path(tmp_path: Path) -> None:
    made = make_demo_model(tmp_path / "gone")
    may = allowed(None, [f"mine={made}"])
    assert list(may.models) == ["mine", "DeepSeek-R1-Distill-Qwen-1.5B"]
    (made / "config.json").unlink()
    with pytest.raises(Refused, match="model: what mine stands for is not there any more"):
        may.options(may.complete(ASKED))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("models: {}", "models"),
        ("model: {a: b}", "did you mean 'models'"),
        ("gpus: [t5]", "gpus: unknown 't5'"),
        ("spaces: {own: nowhere.yaml}", "nowhere.yaml"),
        ("workloads: {own: nowhere.yaml}", "nowhere.yaml"),
        ("engines: [replay]", "engines"),
        ("engine_args: [host]", "tuner itself gives host"),
        ("models: {'a b': org/x}", "'a b' is no name"),
        ("models: {a: /nowhere/at/all}", "model a: /nowhere/at/all: there is no such folder"),
        ("limits: {trials: 0}", "trials"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_at_the_start(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "allow.yaml"
    path.write_text(text + "\n")
    with pytest.raises(UsageError, match=sentence):
        allowed(path, [])


def test_what_is_no_model_of_the_command_line_is_refused(tmp_path: Path) -> None:
    for text in ("mine", "=x", "mine=", "a b=org/x"):
        with pytest.raises(UsageError):
            allowed(None, [text])
    with pytest.raises(UsageError, match="there is no such file"):
        allowed(tmp_path / "none.yaml", [])


def test_limits_have_defaults() -> None:
    assert Allowed().limits == Limits(trials=1000, hours=None, users=10_000, verify=50, queued=100)
