"""A model, a card, a workload and a database as the user names them in; the facts of the deployment checklist out.

The I/O of `tuner doctor --model`: the model's folder, the search space, the database. The server's part is in looking.py.
"""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tuner.decide.objective import parse_objective
from tuner.decide.verdict import Answer
from tuner.errors import RunError, UsageError
from tuner.measure.gpu import detect
from tuner.predict.advise.case import Case
from tuner.predict.advise.checklist import Facts, ModelFiles, SeenServer, StudyFound
from tuner.predict.config_json import read_json
from tuner.predict.shape import Shape, read_shape
from tuner.record.rows import StudyRecord
from tuner.record.store import Store
from tuner.space.search_space import ALL, SearchSpace
from tuner.study.checks import check_values, measured_workload, model_named
from tuner.study.decided import study_decision
from tuner.study.options import Options
from tuner.study.setup import choose_space
from tuner.types import Workload

#: Of these answers a contest was decided.
_VERIFIED = {*Answer} - {Answer.NOT_VERIFIED, Answer.NOTHING_BETTER}
_CPU = "the CPU engine is not modelled"
_ELSEWHERE = "which card that server has is not known here: give --gpu"


def facts(options: Options, model: str | None, seen: SeenServer | None) -> Facts:
    """`model` is the user's word, None for the model of the server. Raises UsageError; not where a server was seen and the
    shape of its model is not known here."""
    check_values(options)
    workload = measured_workload(options, seed=None, find_rate=False)
    named = model or (seen.model if seen else None)
    if named is None:
        raise UsageError("a checklist is of a model: give --model, or the --url of a server")
    shape, why_not = _shape(named, must=seen is None)
    space = choose_space(replace(options, groups=ALL, force_gpu=True), detect() if options.gpu == "auto" else ())
    case = _case(space, shape, workload) if shape is not None else None
    is_cpu, is_predicted = not space.gpu.names, case is not None
    is_elsewhere = options.gpu == "auto" and seen is not None and not seen.is_here
    if is_elsewhere:
        is_cpu, is_predicted, why_not = False, False, why_not or _ELSEWHERE
    elif case is not None:
        try:
            case.check()
            case.default_params()
        except UsageError as error:
            is_predicted, why_not = False, _CPU if is_cpu else str(error)
    studies, database = studies_of(options.storage, named, None if is_elsewhere else space.name)
    return Facts(
        workload=workload,
        case=case,
        is_predicted=is_predicted,
        why_not=why_not,
        files=model_files(Path(named).expanduser()),
        seen=seen,
        studies=studies,
        database=database,
        now=datetime.now(UTC),
        is_cpu=is_cpu,
    )


def _case(space: SearchSpace, shape: Shape, workload: Workload) -> Case:
    """Of a closed loop more is better; an open one gets what it asks for, and how long that takes is what is left."""
    objective = "throughput" if workload.users is not None else "e2e_p99"
    return Case(space=space, shape=shape, workload=workload, objective=parse_objective(objective))


def _shape(model: str, *, must: bool) -> tuple[Shape | None, str]:
    """The shape, or why it is not known."""
    try:
        path = Path(model_named(model)).expanduser()
        return read_shape(str(path) if path.is_dir() else model), ""
    except UsageError as error:
        if must:
            raise
        return None, str(error)


def model_files(folder: Path) -> ModelFiles | None:
    """What a model's folder says of the end of answers; None for what is no folder with a config.json. Raises UsageError for
    files that cannot be read."""
    if not (folder / "config.json").is_file():
        return None
    files = [folder / name for name in ("generation_config.json", "config.json") if (folder / name).is_file()]
    ids, source = next(
        ((found, path.name) for path in files if (found := _ids(read_json(path).get("eos_token_id")))), ((), "")
    )
    tokenizer = folder / "tokenizer_config.json"
    has_template = (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file()
    if not has_template and tokenizer.is_file():
        has_template = bool(read_json(tokenizer).get("chat_template"))
    return ModelFiles(end_ids=ids, source=source, has_template=has_template)


def _ids(value: object) -> tuple[int, ...]:
    given = value if isinstance(value, list) else [value]
    return tuple(one for one in given if isinstance(one, int) and not isinstance(one, bool))


def studies_of(storage: str, model: str, space: str | None) -> tuple[list[StudyFound] | None, str]:
    """The studies of the model on the card, and the database's name; None and the reason where it cannot be read."""
    path = Path(storage.removeprefix("sqlite:///"))
    if storage.startswith("sqlite:///") and not path.exists():
        return [], f"{path} (there is no such file)"
    try:
        store = Store.open(storage, read_only=True)
    except (UsageError, RunError) as error:
        return None, str(error)
    try:
        records = [record for record in store.studies() if _is_of(record, model, space)]
        return [_found(store, record) for record in records], store.name
    except (UsageError, RunError) as error:
        return None, str(error)
    finally:
        store.close()


def _is_of(record: StudyRecord, model: str, space: str | None) -> bool:
    """By the last part of the model's name, as a folder may have moved; not what was simulated or replayed."""
    names = {name.rstrip("/").rpartition("/")[2] for name in (record.model, model)}
    return len(names) == 1 and space in (None, record.gpu) and record.fingerprint.unreal is None


def _found(store: Store, record: StudyRecord) -> StudyFound:
    decision = study_decision(store, record.name)
    verdict = decision.verdict
    ends = [trial.ended_at for trial in store.trials(record.name)]
    ends += [launch.ended_at for launch in store.verifications(record.name)]
    return StudyFound(
        name=record.name,
        ended_at=max((_utc(end) for end in ends), default=None),
        is_finished=bool(ends) and not store.running(record.name) and verdict.answer is not Answer.NOT_VERIFIED,
        answer=verdict.answer.value,
        launches=verdict.launches + verdict.defaults if verdict.answer in _VERIFIED else 0,
    )


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
