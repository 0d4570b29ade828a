import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_samples import COMMAND, MEASURED, NOW, STUDY, TIMELINE, a_trial, launch
from samples import FINGERPRINT
from sqlalchemy import text

from tuner.errors import StorageError, UsageError
from tuner.launch.processes import place
from tuner.record.rows import Verification, differences
from tuner.record.store import Store
from tuner.record.timelines import StoredTimeline
from tuner.study.lease import abandoned, holding, me
from tuner.types import (
    Command,
    Distribution,
    Estimate,
    Failed,
    FailureKind,
    GpuMetrics,
    LoadMetrics,
    Measured,
    Predicted,
    ProcessId,
    Proposal,
    Resolved,
    ServerMetrics,
    Trial,
    Twin,
)

OOM = Failed(kind=FailureKind.OUT_OF_MEMORY, message="CUDA out of memory", log_tail="line 1\nline 2\x00\x1b[0m")


@pytest.fixture
def store(storage_url: str) -> Iterator[Store]:
    """A database with one study, "a study"."""
    opened = Store.open(storage_url)
    opened.create_or_get_study(STUDY)
    yield opened
    opened.close()


def begin(store: Store, number: int) -> None:
    proposal = Proposal(number=number, params={"max_num_seqs": 64}, is_default=number == 0)
    store.begin("a study", proposal, COMMAND, Resolved(settings={"max_num_seqs": 64}, digest="d"), NOW)


def column(store: Store, sql: str) -> list[object]:
    with store._engine.connect() as connection:
        return list(connection.execute(text(sql)).scalars())


def test_a_study_comes_back_as_it_was_stored(store: Store) -> None:
    assert store.create_or_get_study(STUDY) == STUDY
    assert store.study("a study") == STUDY
    other = replace(STUDY, name="other", fingerprint=replace(FINGERPRINT, gpu=None))
    assert store.create_or_get_study(other) == other
    assert store.studies() == [STUDY, other]


def test_an_unknown_study_is_named(store: Store) -> None:
    with pytest.raises(UsageError, match="no study 'nope': `tuner studies` lists them"):
        store.study("nope")


def test_a_study_is_not_continued_on_another_machine_or_for_another_goal(store: Store) -> None:
    elsewhere = replace(FINGERPRINT, gpu="NVIDIA L4", engine_version="0.33.0")
    with pytest.raises(UsageError, match="other conditions") as caught:
        store.create_or_get_study(replace(STUDY, fingerprint=elsewhere, objective="ttft_p99"))
    for part in ("gpu: 'Tesla T4', now 'NVIDIA L4'", "engine_version: '0.32.0', now '0.33.0'", "now 'ttft_p99'"):
        assert part in str(caught.value)
    assert "driver" not in str(caught.value)
    assert differences(FINGERPRINT, FINGERPRINT) == []


def test_what_is_searched_otherwise_is_said_by_its_names(store: Store) -> None:
    searched = {
        "max_num_seqs": {"type": "int", "low": 8, "high": 64},
        "block_size": {"type": "int", "low": 8, "high": 16},
    }
    one = {"fixed": {"dtype": "half"}, "environment": {}, "parameters": searched, "rules": [], "enqueue": []}
    other = {**one, "fixed": {"dtype": "half", "max_model_len": 2048}, "parameters": {"max_num_seqs": {"low": 9}}}
    store.create_or_get_study(replace(STUDY, name="n", space=json.dumps(one), space_digest="1"))
    with pytest.raises(UsageError) as caught:
        store.create_or_get_study(replace(STUDY, name="n", space=json.dumps({**other, "rules": [1]}), space_digest="2"))
    for part in (
        "max_model_len: not given, now 2048",
        "max_num_seqs is searched otherwise",
        "block_size is searched otherwise",
        "the rules of the search space",
    ):
        assert part in str(caught.value)
    assert "digest" not in str(caught.value)


@pytest.mark.parametrize("outcome", [MEASURED, OOM])
def test_a_trial_is_running_until_it_is_finished(store: Store, outcome: Measured | Failed) -> None:
    begin(store, 0)
    assert [(p.number, p.params, p.is_default) for p in store.running("a study")] == [(0, {"max_num_seqs": 64}, True)]
    assert store.trials("a study") == []
    store.finish("a study", a_trial(0, outcome))
    assert store.running("a study") == []
    assert store.trials("a study") == [a_trial(0, outcome)]


def test_a_trial_that_never_started_can_be_finished(store: Store) -> None:
    rejected = replace(a_trial(3, Failed(kind=FailureKind.REJECTED, message="too large")), attempts=0)
    store.finish("a study", rejected)
    assert store.trials("a study") == [rejected]


def test_only_measured_trials_have_metric_rows(store: Store) -> None:
    store.finish("a study", a_trial(0, OOM))
    assert column(store, "SELECT count(*) FROM tuner_metric") == [0]
    assert column(store, "SELECT failure_kind FROM tuner_trial") == ["out of memory"]
    store.finish("a study", a_trial(1))
    names = set(column(store, "SELECT name FROM tuner_metric"))
    assert {"output_throughput", "ttft_p99_s", "gpu_utilization", "server_agreement", "startup_s"} <= names
    assert not names & {"tpot_p99_s", "gpu_power_w", "output_throughput_ci95"}  # not measured: absent, not 0
    assert column(store, "SELECT value FROM tuner_metric WHERE name = 'ttft_p99_s'") == [0.9]


def test_without_a_gpu_no_metric_speaks_of_one() -> None:
    assert not [name for name in replace(MEASURED, gpu=None).metrics() if name.startswith("gpu")]


def test_a_finished_trial_is_never_overwritten(store: Store) -> None:
    store.finish("a study", a_trial(0))
    with pytest.raises(StorageError, match=r"trial 0 of study 'a study' .* finished already"):
        store.finish("a study", a_trial(0, OOM))
    with pytest.raises(StorageError, match="finished already"):
        begin(store, 0)
    assert store.trials("a study") == [a_trial(0)]


@pytest.mark.parametrize("kind", [kind for kind in FailureKind if not kind.is_of_the_settings])
def test_a_trial_that_failed_by_no_fault_of_its_settings_is_run_again(store: Store, kind: FailureKind) -> None:
    begin(store, 1)
    first = a_trial(1, Failed(kind=kind, message="Ctrl-C"))
    store.finish("a study", first)
    assert store.trials("a study") == []
    assert store.unfinished("a study") == [first]
    assert (store.trial("a study", first.number), store.trial("a study", 77)) == (first, None)
    assert [proposal.number for proposal in store.running("a study")] == [1]
    begin(store, 1)
    assert store.unfinished("a study") == []
    store.finish("a study", a_trial(1))
    assert store.trials("a study") == [replace(a_trial(1), attempts=2)]


def test_secret_values_are_never_stored(store: Store) -> None:
    environment = {"HF_TOKEN": "s3cr3t", "my_api_key": "s3cr3t", "TOKENIZERS_PARALLELISM": "false"}
    store.finish("a study", replace(a_trial(0), command=replace(COMMAND, environment=environment)))
    assert store.trials("a study")[0].command.environment == {"TOKENIZERS_PARALLELISM": "false"}
    stored = str(column(store, "SELECT CAST(command AS TEXT) FROM tuner_trial"))
    assert "s3cr3t" not in stored
    assert "HF_TOKEN" in stored


def test_open_launches_are_those_that_nobody_saw_end(store: Store) -> None:
    begin(store, 0)
    first, second = (launch(store, ProcessId(pid, 1e9 + 0.25)) for pid in (11, 12))
    store.end_launch(first, NOW)
    store.record_processes(second, [ProcessId(12, 1e9 + 0.25), ProcessId(13, 1e9 + 1.5)])
    (left,) = abandoned(store)
    leader = ProcessId(12, 1e9 + 0.25, place())
    assert (left.id, left.study, left.number, left.leader, left.tuner) == (second, "a study", 0, leader, me())
    assert left.processes == {leader, ProcessId(13, 1e9 + 1.5, place())}
    assert (left.start, left.log, left.started_at) == ("warm", Path("/x/log"), NOW)


def test_a_launch_of_another_living_tuner_is_not_ours_to_stop(store: Store) -> None:
    begin(store, 0)
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from record_samples import launch; from tuner.types import ProcessId; from tuner.record.store import Store\n"
        "launch(Store.open(sys.argv[1]), ProcessId(9, 1.0))\n"
        "print('recorded', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, store.url, str(Path(__file__).parents[1])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "recorded\n"
        assert abandoned(store) == []
        other.kill()
        other.wait()
        assert [launch.leader.pid for launch in abandoned(store)] == [9]


def test_a_launch_belongs_to_a_begun_trial(store: Store) -> None:
    with pytest.raises(StorageError, match=r"trial 5 .* was never begun"):
        launch(store, ProcessId(1, 1.0), number=5)


def test_verifications_come_back_in_order(store: Store) -> None:
    runs = [
        Verification(
            round=turn, role=role, trial_number=number, command=COMMAND, outcome=outcome, started_at=NOW, ended_at=NOW
        )
        for turn in (1, 2)
        for role, number, outcome in (("defaults", 0, MEASURED), ("winner", 3, OOM))
    ]
    for run in runs:
        store.add_verification("a study", run)
    assert store.verifications("a study") == runs


_numbers = st.floats(allow_nan=False, allow_infinity=False)
_counts = st.integers(0, 2**53)
_times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
_params = st.dictionaries(st.text(), st.booleans() | st.integers() | _numbers | st.text(), max_size=4)
_maybe = st.none() | _numbers
_distributions = st.builds(Distribution, count=_counts, mean=_numbers, p50=_numbers, p90=_numbers, p99=_numbers)
_loads = st.builds(
    LoadMetrics,
    window_s=_numbers,
    completed=_counts,
    failed=_counts,
    request_throughput=_numbers,
    output_throughput=_numbers,
    output_throughput_ci95=_maybe,
    total_token_throughput=_numbers,
    ttft_s=_distributions,
    tpot_s=st.none() | _distributions,
    itl_s=st.none() | _distributions,
    e2el_s=_distributions,
    ci95=st.none() | st.dictionaries(st.text(), st.tuples(_numbers, _numbers), max_size=3),
)
_servers = st.builds(
    ServerMetrics,
    prompt_tokens=_numbers,
    generation_tokens=_numbers,
    preemptions=_numbers,
    prefix_cache_queries=_numbers,
    prefix_cache_hits=_numbers,
    kv_cache_usage_mean=_maybe,
    kv_cache_usage_max=_maybe,
    running_mean=_maybe,
    waiting_mean=_maybe,
    agreement=_maybe,
)
_gpus = st.builds(
    GpuMetrics,
    gpus=st.lists(_counts, max_size=3).map(tuple),
    samples=_counts,
    utilization=_numbers,
    memory_used_bytes=_counts,
    power_w=_maybe,
)
_measured = st.builds(
    Measured,
    load=_loads,
    server=_servers,
    gpu=st.none() | _gpus,
    server_cpu_cores=_maybe,
    startup_s=_numbers,
    kv_cache_tokens=st.none() | _counts,
)
_ended = [kind for kind in FailureKind if kind.is_of_the_settings]
_failed = st.builds(Failed, kind=st.sampled_from(_ended), message=st.text(), log_tail=st.text())
_commands = st.builds(
    Command, argv=st.lists(st.text()).map(tuple), environment=st.dictionaries(st.text("ABC_"), st.text(), max_size=2)
)
_predicted = st.builds(
    Predicted,
    known=st.text(),
    launches=st.integers(0, 99),
    metrics=st.dictionaries(st.text(), st.builds(Estimate, value=_numbers, low=_numbers, high=_numbers), max_size=3),
    failed=st.none() | _failed,
)
_trials = st.builds(
    Trial,
    number=st.just(0),
    params=_params,
    is_default=st.booleans(),
    resolved=_params,
    command=_commands,
    outcome=_measured | _failed | st.builds(Twin, equals=st.integers(0, 9), why=st.text()),
    violations=st.dictionaries(st.text(), _numbers, max_size=2),
    started_at=_times,
    ended_at=_times,
    attempts=st.integers(0, 3),
    digest=st.none() | st.text("0123456789abcdef"),
    compile_key=st.none() | st.text("0123456789abcdef"),
    effective=_params,
    predicted=st.none() | _predicted,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trial=_trials)
def test_any_trial_survives_the_database_unchanged(store: Store, trial: Trial) -> None:
    trial = replace(trial, number=len(store.trials("a study")))
    store.finish("a study", trial)
    back = store.trials("a study")[-1]
    assert back == trial
    assert [type(value) for value in back.params.values()] == [type(value) for value in trial.params.values()]


def test_a_finished_trial_survives_sigkill(store: Store) -> None:
    program = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[2])\n"
        "from record_samples import a_trial; from tuner.record.store import Store\n"
        "Store.open(sys.argv[1]).finish('a study', a_trial(4))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program, store.url, str(Path(__file__).parents[1])], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert store.trials("a study") == [a_trial(4)]


def test_a_study_is_run_by_one_tuner_at_a_time(storage_url: str) -> None:
    """A second tuner, alive at the same time, is told so; a dead one's claim is void."""
    store = Store.open(storage_url)
    store.create_or_get_study(STUDY)
    program = (
        "import sys, time\n"
        "from tuner.record.store import Store\n"
        "from tuner.study.lease import holding\n"
        f"with holding(Store.open({storage_url!r}), {STUDY.name!r}):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(
                UsageError, match=f"being run by another tuner \\(process {other.pid} on .*, since 20.* UTC\\)"
            ),
            holding(store, STUDY.name),
        ):
            pass
        other.kill()
    with holding(store, STUDY.name), holding(store, STUDY.name):  # our own claim does not shut us out
        pass
    store.close()


def with_timeline(outcome: Measured, shift_s: float = 0.0) -> Measured:
    return replace(outcome, timeline=replace(TIMELINE, window_begin_s=TIMELINE.window_begin_s + shift_s))


def launched_again(round: int) -> Verification:
    again = with_timeline(MEASURED, float(round))
    named = {"contest": 1, "round": round, "role": "defaults", "trial_number": 0, "command": COMMAND}
    return Verification(**named, outcome=again, started_at=NOW, ended_at=NOW)  # type: ignore[arg-type]


def test_time_lines_are_kept_apart_and_come_back_with_what_they_are_of(store: Store) -> None:
    store.finish("a study", replace(a_trial(0), outcome=with_timeline(MEASURED)))
    store.finish("a study", a_trial(1))  # has none, as what was replayed
    store.finish("a study", a_trial(2, OOM))
    for round in (1, 2):
        store.add_verification("a study", launched_again(round))
    expected = [
        StoredTimeline(trial=0, contest=contest, round=round, timeline=with_timeline(MEASURED, shift_s).timeline)  # type: ignore[arg-type]
        for contest, round, shift_s in ((None, None, 0.0), (1, 1, 1.0), (1, 2, 2.0))
    ]
    assert store.timelines("a study") == expected
    assert store.timelines("a study", 0) == expected
    assert store.timelines("a study", 1) == []
    assert store.trials("a study") == [a_trial(0), a_trial(1), a_trial(2, OOM)]  # without them
    assert [one.outcome for one in store.verifications("a study")] == [MEASURED, MEASURED]
    assert not any("timeline" in str(tree) for tree in column(store, "SELECT outcome FROM tuner_trial"))
    with pytest.raises(UsageError, match="no study 'nope'"):
        store.timelines("nope")


def test_a_launch_that_is_refused_leaves_no_time_line_and_a_deleted_study_none(store: Store) -> None:
    store.add_verification("a study", launched_again(1))
    with pytest.raises(StorageError):
        store.add_verification("a study", launched_again(1))
    store.finish("a study", replace(a_trial(0), outcome=with_timeline(MEASURED)))
    with pytest.raises(StorageError):
        store.finish("a study", replace(a_trial(0), outcome=with_timeline(MEASURED)))
    assert column(store, "SELECT count(*) FROM tuner_timeline") == [2]
    store.create_or_get_study(replace(STUDY, name="other"))
    store.finish("other", replace(a_trial(0), outcome=with_timeline(MEASURED)))
    store.delete_study("a study")
    assert column(store, "SELECT count(*) FROM tuner_timeline") == [1]
    assert len(store.timelines("other")) == 1
