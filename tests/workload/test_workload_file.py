import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from data_files import dataset_file, trace_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuner.errors import UsageError
from tuner.space.words import not_a_name
from tuner.types import DataFile, Histogram, Lengths, Lognormal, SharedPrefix, TokenCounts, Workload
from tuner.workload.presets import PRESETS, load_workload, max_tokens, with_overrides, workload_hash, workload_yaml

GOOD = "api: chat\nusers: 8\ninput_tokens: {low: 64, high: 128}\noutput_tokens: 32\n"
OPEN = GOOD.replace("users: 8", "request_rate: 2")
TRACE = "api: chat\ntrace: trace.csv\n"
TRACE_MS = TRACE.replace("trace.csv", "{path: trace.csv, unit: ms}")
DATASET = "api: chat\nusers: 8\ndataset: data.jsonl\n"


def _file(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a trace, a dataset, and one without answers."""
    _file(tmp_path, "timestamp,input_length,output_length\n0,40,8\n1500,90,6\n", "trace.csv")
    talks = [{"prompt": "Hi", "output": "x" * size} for size in (400, 401, 1000)]
    _file(tmp_path, "".join(json.dumps(talk) + "\n" for talk in talks), "data.jsonl")
    _file(tmp_path, '{"prompt": "Hi", "output": "Hello"}\n{"prompt": "Hi"}\n', "open.jsonl")
    return tmp_path


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_are_what_a_file_could_say(name: str, tmp_path: Path) -> None:
    preset = load_workload(name)
    assert preset.name == name
    assert load_workload(_file(tmp_path, workload_yaml(preset))) == preset


def test_newton_is_32_users_and_exactly_128_tokens() -> None:
    newton = load_workload("newton-32")
    assert (newton.users, newton.output_tokens) == (32, Lengths(low=128, high=128))


def test_reasoning_has_no_system_prompt_and_a_forced_newline_start() -> None:
    reasoning = load_workload("reasoning-r1")
    assert (reasoning.temperature, reasoning.top_p, reasoning.system_prompt) == (0.6, 0.95, None)
    assert (reasoning.response_prefix or "").endswith("\n")
    assert reasoning.stop


def test_a_file_gives_the_rest_its_defaults(tmp_path: Path) -> None:
    workload = load_workload(_file(tmp_path, GOOD))
    input_tokens, output_tokens = Lengths(low=64, high=128), Lengths(low=32, high=32)
    assert workload == Workload(
        name="mine", api="chat", users=8, input_tokens=input_tokens, output_tokens=output_tokens
    )
    assert (workload.warmup_s, workload.window_s) == (4.0, 12.0)
    assert max_tokens(workload) == 160


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OPEN + "burstiness: .inf\n", {"users": None, "request_rate": 2.0, "burstiness": math.inf}),
        (OPEN + "burstiness: inf\nramp_up_s: 5\n", {"burstiness": math.inf, "ramp_up_s": 5.0}),
        (OPEN + "find_rate: true\n", {"find_rate": True, "burstiness": 1.0}),
        (GOOD + "think_time_s: 1.5\nmax_window_s: 90\n", {"think_time_s": 1.5, "max_window_s": 90.0}),
        (GOOD + "precision: 0.05\n", {"precision": 0.05}),
        (GOOD + "turns: 3\n", {"turns": Lengths(low=3, high=3)}),
        (GOOD + "turns: {low: 2, high: 6}\n", {"turns": Lengths(low=2, high=6)}),
        (GOOD + "shared_prefix: {tokens: 63, count: 4}\n", {"shared_prefix": SharedPrefix(tokens=63, count=4)}),
        (
            GOOD.replace("32", "{median: 20, sigma: 0.7, low: 1, high: 99}"),
            {"output_tokens": Lognormal(median=20.0, sigma=0.7, low=1, high=99)},
        ),
        (
            GOOD.replace("32", "\n  histogram:\n  - [1, 8, 3]\n  - [9, 9, 0.5]"),
            {"output_tokens": Histogram(buckets=((1, 8, 3.0), (9, 9, 0.5)))},
        ),
    ],
)
def test_what_a_file_can_say(tmp_path: Path, text: str, expected: dict[str, object]) -> None:
    workload = load_workload(_file(tmp_path, text))
    assert {name: getattr(workload, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "userz: 3\n", r"mine.yaml:5: userz: unknown key"),
        (GOOD.replace("users: 8", "users: 0"), r"mine.yaml:2: users: "),
        (GOOD.replace("low: 64", "low: 640"), r"mine.yaml:3: input_tokens: low 640 is above high 128"),
        (GOOD.replace("128", "12800000000"), r"mine.yaml:3: input_tokens.high: "),
        (GOOD.replace("low: 64", "lowest: 64"), r"mine.yaml:3: input_tokens.lowest: unknown key"),
        (GOOD.replace("api: chat", "api: completion"), r"mine.yaml:1: api: "),
        (
            GOOD.replace("users: 8\n", ""),
            r"mine.yaml:1: the file: one of the keys users, request_rate and trace is required",
        ),
        (
            GOOD.replace("output_tokens: 32\n", ""),
            r"mine.yaml:1: the file: the key output_tokens is required without a trace",
        ),
        (GOOD + "window_s: .nan\n", r"mine.yaml:5: window_s: "),
        (GOOD + "max_window_s: 5\n", r"mine.yaml:5: max_window_s: 5 is below window_s, 12"),
        (GOOD + "precision: 1\n", r"mine.yaml:5: precision: "),
        (GOOD + "request_rate: 2\n", r"mine.yaml:5: request_rate: does not go with `users`: leave one of them out"),
        (GOOD + "trace: trace.csv\n", r"mine.yaml:5: trace: does not go with `users`"),
        (OPEN + "trace: trace.csv\n", r"mine.yaml:5: trace: does not go with `request_rate`"),
        (OPEN.replace("rate: 2", "rate: 0"), r"mine.yaml:2: request_rate: "),
        (OPEN.replace("rate: 2", "rate: .inf"), r"mine.yaml:2: request_rate: "),
        (OPEN + "think_time_s: 2\n", r"mine.yaml:5: think_time_s: only goes with `users`"),
        (GOOD + "burstiness: 2\n", r"mine.yaml:5: burstiness: only goes with `request_rate`"),
        (GOOD + "ramp_up_s: 2\n", r"mine.yaml:5: ramp_up_s: only goes with `request_rate`"),
        (GOOD + "find_rate: true\n", r"mine.yaml:5: find_rate: only goes with `request_rate`"),
        (OPEN + "burstiness: .nan\n", r"mine.yaml:5: burstiness: "),
        (OPEN + "burstiness: 0\n", r"mine.yaml:5: burstiness: "),
        (TRACE + "input_tokens: 5\n", r"mine.yaml:3: input_tokens: does not go with `trace`"),
        (TRACE + "turns: 2\n", r"mine.yaml:3: turns: does not go with `trace`"),
        (TRACE + "dataset: data.jsonl\n", r"mine.yaml:3: dataset: does not go with `trace`"),
        (
            TRACE_MS + "shared_prefix: {tokens: 40, count: 1}\n",
            r"mine.yaml: shared_prefix: 40 tokens must be fewer than .* 40",
        ),
        (TRACE.replace("trace.csv", "{path: trace.csv, unit: h}"), r"mine.yaml:2: trace.unit: "),
        (TRACE.replace("trace.csv", "{path: trace.csv, speedup: 0}"), r"mine.yaml:2: trace.speedup: "),
        (TRACE, r"trace.csv:3: nothing arrives for 1,500 s before this row"),
        (TRACE.replace("trace.csv", "absent.csv"), r"absent.csv cannot be read"),
        (TRACE.replace("trace.csv", r'"a\0.csv"'), r"cannot be read: "),
        (TRACE.replace("trace.csv", "[trace.csv]"), r"mine.yaml:2: trace: "),
        (DATASET + "input_tokens: 5\n", r"mine.yaml:4: input_tokens: does not go with `dataset`"),
        (DATASET + "turns: 5\n", r"mine.yaml:4: turns: does not go with `dataset`"),
        (DATASET + "shared_prefix: {tokens: 1, count: 1}\n", r"mine.yaml:4: shared_prefix: does not go with `dataset`"),
        (DATASET.replace("chat", "completions"), r"mine.yaml:3: dataset: only goes with `api: chat`"),
        (
            DATASET.replace("data.jsonl", "open.jsonl"),
            r"mine.yaml: dataset: 1 of its 2 conversations have no answer: add output_tokens",
        ),
        (DATASET.replace("data.jsonl", "trace.csv"), r"trace.csv:1: expected a JSON object"),
        (GOOD + "turns: 65\n", r"mine.yaml:5: turns: 65 turns are more than 64"),
        (
            GOOD + "shared_prefix: {tokens: 64, count: 1}\n",
            r"mine.yaml:5: shared_prefix: 64 tokens must be fewer than .* 64",
        ),
        (GOOD + "shared_prefix: 64\n", r"mine.yaml:5: shared_prefix: "),
        (
            GOOD.replace("api: chat", "api: completions") + "system_prompt: Hi\n",
            r"mine.yaml:5: .* only goes with `api: chat`",
        ),
        (
            GOOD.replace("api: chat", "api: completions") + "turns: 2\n",
            r"mine.yaml:5: turns: only goes with `api: chat`",
        ),
        (GOOD.replace("32", "true"), r"mine.yaml:4: output_tokens: expected a number of tokens, {low, high}, "),
        (
            GOOD.replace("32", "{median: 9, sigma: 1, low: 10, high: 20}"),
            r"mine.yaml:4: output_tokens: median 9 is not within",
        ),
        (GOOD.replace("32", "{median: 9, sigma: 0, low: 1, high: 20}"), r"mine.yaml:4: output_tokens.sigma: "),
        (GOOD.replace("32", "{histogram: []}"), r"mine.yaml:4: output_tokens.histogram: "),
        (
            GOOD.replace("32", "\n  histogram:\n  - [1, 2, 3]\n  - [3, 4, 0]"),
            r"mine.yaml:7: output_tokens.histogram.1.2: ",
        ),
        (
            GOOD.replace("32", "{histogram: [[5, 4, 1]]}"),
            r"mine.yaml:4: output_tokens.histogram: low 5 is above high 4",
        ),
        ("api: [", r"mine.yaml:1: this is not valid YAML"),
    ],
)
def test_a_bad_file_is_one_sentence_with_its_line(folder: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as error:
        load_workload(_file(folder, text))
    assert "\n" not in str(error.value)


def test_an_unknown_name_lists_the_presets() -> None:
    with pytest.raises(
        UsageError,
        match=r"no workload 'chatt' \(did you mean 'chat'\?\): choose chat, long-prompt, reasoning-r1, newton-32, open-chat,",
    ):
        load_workload("chatt")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_workload(str(tmp_path / "absent.yaml"))


def test_a_trace_says_how_long_requests_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _file(folder, "api: completions\ntrace: {path: trace.csv, unit: ms, speedup: 3}\n")
    workload = load_workload(path)
    assert (workload.input_tokens, workload.output_tokens) == (Lengths(low=40, high=90), Lengths(low=6, high=8))
    assert workload.trace == trace_file(folder / "trace.csv", unit_s=0.001, speedup=3.0)
    assert max_tokens(workload) == 98
    monkeypatch.chdir(folder)
    assert load_workload("mine.yaml") == workload


def test_a_dataset_says_how_long_answers_typically_are(folder: Path) -> None:
    workload = load_workload(_file(folder, DATASET))
    assert workload.dataset == dataset_file(folder / "data.jsonl")
    assert (workload.input_tokens, workload.output_tokens) == (Lengths(low=1, high=1), Lengths(low=100, high=100))
    assert max_tokens(workload) is None
    asked = load_workload(
        _file(folder, DATASET.replace("data.jsonl", "open.jsonl") + "output_tokens: {low: 2, high: 9}\n")
    )
    assert asked.output_tokens == Lengths(low=2, high=9)


def test_the_longest_sequence_of_a_conversation_holds_all_its_turns() -> None:
    assert max_tokens(PRESETS["multi-turn"]) == 6 * (128 + 160)


def test_every_field_changes_the_hash() -> None:
    base = PRESETS["reasoning-r1"]
    other = Workload(
        name="x",
        api="completions",
        users=77,
        think_time_s=1.0,
        request_rate=1.0,
        burstiness=math.inf,
        ramp_up_s=1.0,
        find_rate=True,
        trace=DataFile(path=Path("a"), digest="1"),
        dataset=DataFile(path=Path("a"), digest="1"),
        input_tokens=Lognormal(median=2, sigma=1, low=1, high=3),
        output_tokens=Histogram(buckets=((1, 2, 3.0),)),
        shared_prefix=SharedPrefix(tokens=1, count=2),
        turns=Lengths(low=1, high=2),
        acceptance_length=1.8,
        acceptance_rates=(0.7, 0.2),
        temperature=0.7,
        top_p=0.7,
        system_prompt="x",
        response_prefix="x",
        stop=("x",),
        warmup_s=7.0,
        window_s=7.0,
        max_window_s=7.0,
        precision=0.7,
        stall_s=7.0,
        seed=7,
    )
    names = [field.name for field in dataclasses.fields(base)]
    changed = [dataclasses.replace(base, **{name: getattr(other, name)}) for name in names]
    assert len({workload_hash(workload) for workload in (base, *changed)}) == len(names) + 1
    assert workload_hash(PRESETS["chat"]) == workload_hash(dataclasses.replace(PRESETS["chat"]))


def test_a_file_counts_by_its_content(folder: Path) -> None:
    def of(path: Path, **how: float) -> str:
        return workload_hash(dataclasses.replace(PRESETS["chat"], users=None, trace=trace_file(path, **how)))

    path = folder / "trace.csv"
    before = of(path, unit_s=0.001)
    assert of(path.rename(folder / "moved.csv"), unit_s=0.001) == before
    assert of(folder / "moved.csv", unit_s=0.001, speedup=2.0) != before
    (folder / "moved.csv").write_text((folder / "moved.csv").read_text().replace("90", "91"))
    assert of(folder / "moved.csv", unit_s=0.001) != before


def test_overrides() -> None:
    changed = with_overrides(
        PRESETS["chat"], users=2, warmup_s=0.0, window_s=5.0, max_window_s=6.0, precision=0.1, seed=4
    )
    assert (changed.users, changed.warmup_s, changed.window_s, changed.seed) == (2, 0.0, 5.0, 4)
    assert (changed.max_window_s, changed.precision) == (6.0, 0.1)
    assert with_overrides(PRESETS["chat"]) == PRESETS["chat"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"users": 0}, "users is 0: it must be above 0"),
        ({"request_rate": 0.0}, "request_rate is 0.0: it must be above 0"),
        ({"request_rate": 1e-30}, "request_rate is 1e-30: 1e-05 is the least"),
        ({"request_rate": math.inf}, "request_rate is inf: it must be a number"),
        ({"window_s": -1}, "window_s is -1: below 0"),
        ({"window_s": math.nan}, "window_s is nan: it must be a number"),
        ({"precision": 2.0}, "precision is 2.0: it is a fraction and must be below 1"),
        ({"max_window_s": 3.0}, "max_window_s is 3: it must not be below window_s, 12"),
        ({"users": 2, "request_rate": 2.0}, "users and request_rate are both given"),
    ],
)
def test_a_bad_override_is_one_sentence(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        with_overrides(PRESETS["chat"], **given)


def test_users_close_a_loop_and_a_rate_opens_it(folder: Path) -> None:
    rated = dataclasses.replace(PRESETS["open-chat"], burstiness=2.0, ramp_up_s=5.0, find_rate=True)
    thinking = dataclasses.replace(rated, request_rate=None, burstiness=1.0, ramp_up_s=0.0, find_rate=False, users=3)
    assert with_overrides(rated, users=3) == thinking
    opened = with_overrides(dataclasses.replace(thinking, think_time_s=2.0), request_rate=9.0)
    assert opened == dataclasses.replace(PRESETS["open-chat"], request_rate=9.0)
    assert with_overrides(rated, request_rate=9.0) == dataclasses.replace(rated, request_rate=9.0)
    trace = dataclasses.replace(PRESETS["chat"], users=None, trace=trace_file(folder / "trace.csv", unit_s=0.001))
    with pytest.raises(UsageError, match="workload chat replays a trace, which has no users and no rate"):
        with_overrides(trace, users=3)


def _lengths(least: int = 1, most: int = 10_000) -> st.SearchStrategy[Lengths]:
    pairs = st.tuples(st.integers(least, most), st.integers(least, most)).map(sorted)
    return pairs.map(lambda pair: Lengths(low=pair[0], high=pair[1]))


def _counts() -> st.SearchStrategy[TokenCounts]:
    sigma = st.floats(0.01, 10)
    lognormal = st.builds(
        lambda ends, sigma, share: Lognormal(
            median=ends.low + share * (ends.high - ends.low), sigma=sigma, low=ends.low, high=ends.high
        ),
        _lengths(),
        sigma,
        st.floats(0, 1),
    )
    bucket = st.builds(lambda ends, weight: (ends.low, ends.high, weight), _lengths(), st.floats(1e-9, 1e30))
    histogram = st.lists(bucket, min_size=1, max_size=4).map(lambda buckets: Histogram(buckets=tuple(buckets)))
    return st.one_of(_lengths(), lognormal, histogram)


@st.composite
def _workloads(draw: st.DrawFn) -> Workload:
    texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
    positive = st.floats(1e-3, 1e5)
    values: dict[str, Any] = {
        "name": draw(texts.filter(lambda text: not_a_name(text) is None)),
        "api": "chat",
        "input_tokens": draw(_counts()),
        "output_tokens": draw(_counts()),
        "temperature": draw(st.floats(0, 2)),
        "top_p": draw(st.floats(0.01, 1)),
        "system_prompt": draw(st.none() | texts),
        "response_prefix": draw(st.none() | texts),
        "stop": tuple(draw(st.lists(texts, max_size=3))),
        "warmup_s": draw(st.floats(0, 1e4)),
        "window_s": draw(positive),
        "precision": draw(st.floats(1e-6, 0.99)),
        "stall_s": draw(positive),
        "seed": draw(st.integers(0, 2**64)),
        "turns": draw(st.none() | _lengths(most=64)),
    }
    values["max_window_s"] = draw(st.none() | st.just(2 * values["window_s"]))
    if values["input_tokens"].low > 1:
        tokens = st.integers(1, values["input_tokens"].low - 1)
        values["shared_prefix"] = draw(st.none() | st.builds(SharedPrefix, tokens=tokens, count=st.integers(1, 99)))
    if draw(st.booleans()):
        return Workload(**values, users=draw(st.integers(1, 10**5)), think_time_s=draw(st.floats(0, 99)))
    return Workload(
        **values,
        request_rate=draw(positive),
        burstiness=draw(st.floats(0.01, 99) | st.just(math.inf)),
        ramp_up_s=draw(st.floats(0, 99)),
        find_rate=draw(st.booleans()),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(workload=_workloads(), comment=st.sampled_from(["", "From a server.\n\nMeasured: 10 min"]))
def test_what_is_written_is_read_back_the_same(tmp_path: Path, workload: Workload, comment: str) -> None:
    assert load_workload(_file(tmp_path, workload_yaml(workload, comment))) == workload


@pytest.mark.parametrize(
    "text",
    [
        TRACE.replace("trace.csv", "{path: trace.csv, unit: ms, speedup: 2.5}"),
        TRACE.replace("trace.csv", "{path: trace.csv, speedup: 3}"),
        DATASET,
        DATASET.replace("data.jsonl", "open.jsonl") + "output_tokens: 7\n",
    ],
)
def test_files_are_written_by_their_whole_path(folder: Path, text: str) -> None:
    workload = load_workload(_file(folder, text))
    (folder / "elsewhere").mkdir()
    again = load_workload(_file(folder / "elsewhere", workload_yaml(workload)))
    assert again == workload


def test_what_is_written_is_short() -> None:
    text = workload_yaml(PRESETS["open-chat"], "Imitates production.\nTwo lines.")
    assert text == (
        "# Imitates production.\n# Two lines.\nname: open-chat\napi: chat\nrequest_rate: 8.0\n"
        "input_tokens: {low: 64, high: 448}\noutput_tokens: {low: 32, high: 224}\n"
    )
