import gzip
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from alembic import command
from record_samples import COMMAND, MEASURED, NOW, STUDY, TIMELINE, a_trial, launch
from sqlalchemy import inspect, text

from tuner.decide.twins import twin_of
from tuner.decide.verdict import Answer
from tuner.errors import StorageError
from tuner.record.migrate import _config
from tuner.record.rows import StoredContest, Verification
from tuner.record.store import Store
from tuner.record.tables import Base
from tuner.study.decided import study_decision
from tuner.study.lease import abandoned
from tuner.types import Command, Estimate, Failed, FailureKind, Params, Predicted, ProcessId, Resolved

REPOSITORY = Path(__file__).parents[2]


def optuna_trials(url: str) -> int:
    """Let Optuna make or open its own tables, add a trial, and count."""
    if url.startswith("postgresql"):
        url = url.replace("postgresql://", "postgresql+psycopg://")
    storage = optuna.storages.RDBStorage(url)
    study = optuna.create_study(study_name="a study", storage=storage, load_if_exists=True)
    study.tell(study.ask(), 1.0)
    count = len(study.trials)
    storage.remove_session()
    storage.engine.dispose()
    return count


def tables(store: Store) -> set[str]:
    return set(inspect(store._engine).get_table_names())


@pytest.mark.parametrize("optuna_first", [True, False])
def test_our_tables_and_optunas_live_side_by_side(storage_url: str, optuna_first: bool) -> None:
    if optuna_first:
        assert optuna_trials(storage_url) == 1
    store = Store.open(storage_url)
    store.create_or_get_study(STUDY)
    store.finish("a study", a_trial(0))
    assert optuna_trials(storage_url) == 1 + optuna_first
    again = Store.open(storage_url)
    assert again.trials("a study") == [a_trial(0)]
    assert {"alembic_version", "studies", "trials", "tuner_alembic_version", *Base.metadata.tables} <= tables(again)
    store.close()
    again.close()


def test_the_migrations_make_exactly_the_tables_of_the_code(storage_url: str) -> None:
    optuna_trials(storage_url)
    store = Store.open(storage_url)
    config = _config()
    with store._engine.begin() as connection:
        config.attributes["connection"] = connection
        command.check(config)  # raises when autogenerate would add, change or drop anything
    store.close()


def test_downgrading_leaves_optunas_tables_alone(storage_url: str) -> None:
    optuna_trials(storage_url)
    store = Store.open(storage_url)
    config = _config()
    with store._engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert not tables(store) & set(Base.metadata.tables)
    assert optuna_trials(storage_url) == 2
    store.close()


def test_a_launch_that_an_older_tuner_left_open_is_still_found(storage_url: str) -> None:
    """The first schema knew only the leader of a launch, and every start was plain."""
    store = Store.open(storage_url)
    store.create_or_get_study(STUDY)
    store.finish("a study", a_trial(0))
    leader = ProcessId(4711, 1.5e9 + 0.25)
    launch(store, leader)
    config = _config()
    with store._engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    assert "tuner_process" not in tables(store)
    store.close()
    again = Store.open(storage_url)
    (left,) = abandoned(again)
    assert (left.leader, left.processes, left.start) == (leader, frozenset({leader}), "plain")
    again.close()


def test_the_settings_of_an_older_command_are_read_from_its_arguments(storage_url: str) -> None:
    """Up to the second schema a command was its argument vector alone."""
    argv = ("vllm", "serve", "m", "--max-num-seqs", "64", "--revision", "0123", "--no-enable-prefix-caching", "--eager")
    settings: Params = {"max_num_seqs": 64, "revision": "0123", "enable_prefix_caching": False, "eager": True}
    store = Store.open(storage_url)
    store.create_or_get_study(STUDY)
    command_of_now = Command(argv=argv, model="m", settings=settings, environment={"A": "b"})
    store.finish("a study", replace(a_trial(0), command=command_of_now))
    config = _config()
    with store._engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
        assert "settings" not in str(connection.execute(text("SELECT command FROM tuner_trial")).scalar())
    store.close()
    again = Store.open(storage_url)
    assert again.trials("a study")[0].command == command_of_now
    again.close()


def test_what_an_older_tuner_launched_again_is_one_contest(storage_url: str) -> None:
    store = Store.open(storage_url)
    store.create_or_get_study(STUDY)
    for number in range(2):
        store.finish("a study", a_trial(number))
    store.begin_contest("a study", [1], 2, NOW)
    for round in (1, 2):
        for role, number in (("finalist", 1), ("defaults", 0)):
            run = Verification(
                round=round,
                role=role,
                trial_number=number,
                command=COMMAND,
                outcome=MEASURED,
                started_at=NOW,
                ended_at=NOW,
            )
            store.add_verification("a study", run)
    before, config = store.verifications("a study"), _config()
    with store._engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0003")
        roles = connection.execute(text("SELECT DISTINCT role FROM tuner_verification ORDER BY role")).scalars().all()
        assert roles == ["defaults", "winner"]
    store.close()
    again = Store.open(storage_url)
    assert again.verifications("a study") == before
    assert again.contests("a study") == [StoredContest(number=1, candidates=(1,), rounds=2)]
    again.close()


def test_of_an_older_trial_it_is_not_known_what_it_equals(storage_url: str) -> None:
    """Up to the fifth schema no trial had a digest; what has none is nobody's twin."""
    store = Store.open(storage_url)
    store.create_or_get_study(STUDY)
    told = replace(a_trial(0), digest="abc", compile_key="def", effective={"block_size": 64})
    store.finish("a study", told)
    assert store.trials("a study") == [told]
    config = _config()
    with store._engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0005")
    store.close()
    again = Store.open(storage_url)
    assert again.trials("a study") == [a_trial(0)]
    assert twin_of(Resolved(settings=a_trial(0).resolved, digest="abc"), COMMAND, again.trials("a study")) is None
    again.close()


def test_of_an_older_trial_nothing_was_predicted(storage_url: str) -> None:
    """Up to the sixth schema no model was asked."""
    store = Store.open(storage_url)
    store.create_or_get_study(STUDY)
    failed = Failed(kind=FailureKind.OUT_OF_MEMORY, message="no memory left")
    metrics = {"output_throughput": Estimate(value=50.0, low=30.0, high=83.0)}
    told = [
        replace(a_trial(0), predicted=Predicted(known="measured card", launches=2, metrics=metrics)),
        replace(a_trial(1), predicted=Predicted(known="unmeasured card", failed=failed)),
        a_trial(2),
    ]
    for one in told:
        store.finish("a study", one)
    assert store.trials("a study") == told
    config = _config()
    with store._engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0006")
    store.close()
    again = Store.open(storage_url)
    assert again.trials("a study") == [a_trial(number) for number in range(3)]
    again.close()


def test_what_an_older_tuner_measured_has_no_time_line(storage_url: str) -> None:
    """Up to the seventh schema none was recorded."""
    store = Store.open(storage_url)
    store.create_or_get_study(STUDY)
    store.finish("a study", replace(a_trial(0), outcome=replace(MEASURED, timeline=TIMELINE)))
    config = _config()
    with store._engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0007")
    assert "tuner_timeline" not in tables(store)
    store.close()
    again = Store.open(storage_url, read_only=True)
    assert (again.trials("a study"), again.timelines("a study")) == ([a_trial(0)], [])
    again.close()


def test_a_database_of_the_second_schema_opens_and_has_its_answer(tmp_path: Path) -> None:
    """A file as tuner wrote it then: five trials of the simulated T4 with an SLO, and four launches to verify the winner, which
    missed its SLO in the second; the tuner of then told a gain of 0.0 %."""
    file = tmp_path / "old.db"
    file.write_bytes(gzip.decompress((Path(__file__).parent / "databases" / "0002.db.gz").read_bytes()))
    store = Store.open(f"sqlite:///{file}", read_only=True)  # as `tuner show` does
    found, trials = study_decision(store, "old"), store.trials("old")
    assert [trial.number for trial in trials] == [0, 1, 2, 3, 4]
    assert all(trial.command.model == trial.command.argv[trial.command.argv.index("serve") + 1] for trial in trials)
    assert store.timelines("old") == []
    assert store.contests("old") == [StoredContest(number=1, candidates=(2,), rounds=2)]
    assert (found.verdict.trial, found.verdict.gain) == (2, None)
    assert found.verdict.answer in (Answer.MISSES, Answer.NOT_VERIFIED)
    store.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_schema_is_refused_and_left_alone(storage_url: str, read_only: bool) -> None:
    store = Store.open(storage_url)
    with store._engine.begin() as connection:
        connection.execute(text("UPDATE tuner_alembic_version SET version_num = '9999'"))
    with pytest.raises(StorageError, match=r"was written by a newer tuner \(schema 9999\): update tuner"):
        Store.open(storage_url, read_only=read_only)
    with store._engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM tuner_alembic_version")).scalar() == "9999"
    store.close()


def test_reading_a_database_without_our_tables_changes_nothing(storage_url: str) -> None:
    optuna_trials(storage_url)
    with pytest.raises(StorageError, match="has no tables of tuner: see --storage"):
        Store.open(storage_url, read_only=True)
    assert optuna_trials(storage_url) == 2


def test_developers_use_alembic_without_an_ini_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    for arguments in (["upgrade", "head"], ["check"]):
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "TUNER_STORAGE": url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    Store.open(url, read_only=True).close()
    assert not (REPOSITORY / "alembic.ini").exists()


def test_the_folder_alembic_does_not_shadow_the_library() -> None:
    assert not (REPOSITORY / "alembic" / "__init__.py").exists()
