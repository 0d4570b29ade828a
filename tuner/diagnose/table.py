"""docs/diagnosis.md in; its thresholds, signs, rules, remedies, rivals and words out.

The file lies next to the code when installed, and in docs/ of a checkout. This module does not know what is measured: a
condition names a field of Evidence, a sign or a threshold, and each name is checked when the table is read.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from string import Formatter
from types import MappingProxyType
from typing import NoReturn, cast, get_args

from tuner.diagnose.causes import Cause
from tuner.diagnose.diagnosis import Direction, Rival
from tuner.diagnose.evidence import Evidence
from tuner.errors import RunError
from tuner.types import Value

_PACKAGE = Path(__file__).resolve().parents[1]
#: What a condition may be about.
FIELDS = frozenset(entry.name for entry in fields(Evidence)) | {
    name for name, value in vars(Evidence).items() if isinstance(value, property)
}
_HEADERS = {
    "thresholds": ("threshold", "value", "where it is from"),
    "signs": ("sign", "when", "evidence"),
    "rules": ("rule", "cause", "when", "strength", "evidence"),
    "remedies": ("cause or rule", "setting", "direction", "value", "why"),
    "rivals": ("cause", "rival", "what tells them apart"),
    "words": ("cause", "words"),
}
_BEGINS, _AT_ONCE = "*", " at once"
_COMPARISON = re.compile(r"(?P<field>\w+) (?P<how>>=|<=|<|>) (?P<than>\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A field of Evidence beside a threshold: `how` is one of >=, <=, < and >."""

    field: str
    how: str
    threshold: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A sign that is there, or `absent`."""

    sign: str
    absent: bool


Condition = Comparison | Signed


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """One way in which a sign shows. `evidence` is a sentence for str.format with the fields of Evidence."""

    when: tuple[Comparison, ...]
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Where all conditions hold, it is the cause, as surely as `strength` says."""

    name: str
    cause: Cause
    when: tuple[Condition, ...]
    strength: float
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """A setting that moves a cause; `value` is the farthest of a number, which is gone to `at_once` or in steps, else the
    choice, of which any that `begins` so will do."""

    name: str
    direction: Direction
    value: Value | None
    why: str
    begins: bool = False
    at_once: bool = False

    def is_met_by(self, choice: Value) -> bool:
        """Whether a choice is the one to set."""
        if self.direction != "set" or self.value is None:
            return False
        return str(choice).startswith(str(self.value)) if self.begins else choice == self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What docs/diagnosis.md says. `remedies` are by the name of a rule or of a cause."""

    thresholds: Mapping[str, float]
    signs: Mapping[str, tuple[Sign, ...]]
    rules: tuple[Rule, ...]
    remedies: Mapping[str, tuple[Advice, ...]]
    rivals: Mapping[Cause, tuple[Rival, ...]]
    words: Mapping[Cause, str]


@dataclass(frozen=True, slots=True)
class _Row:
    where: str
    cells: tuple[str, ...]

    def refuse(self, why: str) -> NoReturn:
        raise RunError(f"{self.where}: {why}")


def table_path(package: Path = _PACKAGE) -> Path:
    """`package` is the folder of the tuner package."""
    installed = package / "diagnose" / "diagnosis.md"
    return installed if installed.is_file() else package.parent / "docs" / "diagnosis.md"


def begins_so(name: str, value: Value) -> bool:
    """Whether this value of a setting stands, in the remedies, for any choice that begins so."""
    every = (one for remedies in the_table().remedies.values() for one in remedies)
    return any(one.begins and (one.name, one.value) == (name, value) for one in every)


@cache
def the_table() -> Table:
    """The one that comes with tuner. Raises RunError where it is missing or malformed."""
    path = table_path()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RunError(f"the table of diagnoses cannot be read: {path}: {error.strerror}") from error
    return read_table(text, path.name)


def read_table(text: str, name: str = "diagnosis.md") -> Table:
    """Raises RunError, "name:line: sentence"."""
    rows = _rows(text, name)
    thresholds = {row.cells[0]: _number(row, row.cells[1]) for row in rows["thresholds"]}
    signs: dict[str, tuple[Sign, ...]] = {}
    for row in rows["signs"]:
        when = tuple(one for one in _conditions(row, row.cells[1], thresholds, ()) if isinstance(one, Comparison))
        signs[row.cells[0]] = (*signs.get(row.cells[0], ()), Sign(when=when, evidence=_evidence(row, row.cells[2])))
    rules = tuple(_rule(row, thresholds, signs) for row in rows["rules"])
    known = {cause.value for cause in Cause} | {rule.name for rule in rules}
    remedies: dict[str, tuple[Advice, ...]] = {}
    for row in rows["remedies"]:
        if row.cells[0] not in known:
            row.refuse(f"{row.cells[0]!r} is neither a cause nor a rule")
        remedies[row.cells[0]] = (*remedies.get(row.cells[0], ()), _advice(row))
    rivals: dict[Cause, tuple[Rival, ...]] = {}
    for row in rows["rivals"]:
        cause, rival = _cause(row, row.cells[0]), Rival(cause=_cause(row, row.cells[1]), apart=row.cells[2])
        rivals[cause] = (*rivals.get(cause, ()), rival)
    return Table(
        thresholds=MappingProxyType(thresholds),
        signs=MappingProxyType(signs),
        rules=rules,
        remedies=MappingProxyType(remedies),
        rivals=MappingProxyType(rivals),
        words=MappingProxyType({_cause(row, row.cells[0]): row.cells[1] for row in rows["words"]}),
    )


def _rows(text: str, name: str) -> Mapping[str, list[_Row]]:
    """The rows of each table, by its header."""
    found: dict[str, list[_Row]] = {}
    current: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.startswith("|"):
            current = None
            continue
        row = _Row(f"{name}:{number}", tuple(cell.strip() for cell in line.strip().strip("|").split("|")))
        if current is None:
            current = next((key for key, header in _HEADERS.items() if header == row.cells), None)
            if current is None or current in found:
                row.refuse(
                    f"no known table begins with {line.strip()}" if current is None else "this table is here twice"
                )
            found[current] = []
        elif set(line.strip()) - set("|-: "):
            if len(row.cells) != (expected := len(_HEADERS[current])):
                row.refuse(f"{len(row.cells)} cells in a table of {expected} columns")
            found[current].append(row)
    if missing := [key for key in _HEADERS if not found.get(key)]:
        raise RunError(f"{name}: there is no table of {', no table of '.join(missing)}")
    return found


def _rule(row: _Row, thresholds: Mapping[str, float], signs: Mapping[str, tuple[Sign, ...]]) -> Rule:
    name, cause, when, strength, evidence = row.cells
    sure = _number(row, strength)
    if not 0.0 < sure <= 1.0:
        row.refuse(f"a strength is above 0 and at most 1, not {strength}")
    conditions = tuple(_conditions(row, when, thresholds, signs))
    told = _evidence(row, evidence)
    return Rule(name=name, cause=_cause(row, cause), when=conditions, strength=sure, evidence=told)


def _conditions(
    row: _Row, text: str, thresholds: Mapping[str, float], signs: Mapping[str, object] | tuple[()]
) -> Iterator[Condition]:
    for part in text.strip("`").split(" and "):
        absent, sign = part.startswith("not "), part.removeprefix("not ").strip()
        if sign in signs:
            yield Signed(sign=sign, absent=absent)
        elif absent or (found := _COMPARISON.fullmatch(part.strip())) is None:
            row.refuse(f"{part!r} is no condition: a sign, `not` a sign, or a field, one of >= <= < >, and a threshold")
        elif found["field"] not in FIELDS:
            row.refuse(f"{found['field']!r} is no field of the evidence")
        elif found["than"] not in thresholds:
            row.refuse(f"{found['than']!r} is no threshold")
        else:
            yield Comparison(field=found["field"], how=found["how"], threshold=found["than"])


def _evidence(row: _Row, text: str) -> str:
    try:
        names = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError as error:
        row.refuse(f"{text!r} cannot be filled in: {error}")
    if unknown := names - FIELDS:
        row.refuse(f"{', '.join(sorted(unknown))}: no field of the evidence")
    return text


def _advice(row: _Row) -> Advice:
    _, name, direction, value, why = row.cells
    if direction not in get_args(Direction):
        row.refuse(f"a setting is {', '.join(get_args(Direction))}, not {direction!r}")
    told = _value(value.removesuffix(_BEGINS).removesuffix(_AT_ONCE))
    if direction != "set" and isinstance(told, str | bool):
        row.refuse(f"how far {name} goes is a number, not {value!r}")
    return Advice(
        name=name,
        direction=cast(Direction, direction),
        value=told,
        why=why,
        begins=value.endswith(_BEGINS),
        at_once=isinstance(told, float) or value.endswith(_AT_ONCE),
    )


def _value(text: str) -> Value | None:
    if text in {"True", "False"}:
        return text == "True"
    for made in (int, float):
        try:
            return made(text)
        except ValueError:
            continue
    return text or None


def _number(row: _Row, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        row.refuse(f"{text!r} is no number")


def _cause(row: _Row, text: str) -> Cause:
    try:
        return Cause(text)
    except ValueError:
        row.refuse(f"{text!r} is no cause")
