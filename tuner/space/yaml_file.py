"""A YAML file and a pydantic model in; a validated value out, or one sentence with file and line.

The only reader of YAML. It knows nothing of what the files mean. It is stricter than YAML and pydantic by themselves: a key
that is there twice, and a yes or no where a number is meant, are mistakes.
"""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from tuner.errors import UsageError, choose, did_you_mean

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[int | str, ...]

#: What a person writes is smaller, also with its aliases (`*name`) replaced by what they stand for.
MAX_BYTES = 4 << 20
MAX_NODES = 500_000
#: libyaml's reader, with which PyYAML is built nearly everywhere, is ten times as fast. What it does not take, the other one
#: reads or refuses: its sentences are better, and the same on every machine.
_FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "finite_number": "a number that is finite",
    "string_too_short": "a text that is not empty",
    "string_type": "a text",
    "path_type": "a path",
    "tuple_type": "a list, such as [one, two]",
    "list_type": "a list, such as [one, two]",
    "is_instance_of": "a list, such as [one, two]",
    "sequence_str": "a list, such as [one, two]",
    "dict_type": "`key: value` lines",
    "model_type": "`key: value` lines",
    "model_attributes_type": "`key: value` lines",
}
#: Of a number's bound: the words before it, and its key in what pydantic says.
_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("of at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("of at most", "le"),
}


def read_yaml(path: Path, model: type[Model]) -> Model:
    """Parse `path` into `model`. Raises UsageError "file:line: what is wrong"."""
    tree, value = _parse(path, _read(path))
    if not isinstance(value, dict):
        what = "the file is empty" if value is None else f"found {_shown(value)}"
        raise UsageError(f"{path}:1: expected `key: value` lines, {what}")
    try:
        found = model.model_validate(value)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        first = next(
            (e for e in errors if e["type"] == "extra_forbidden"), errors[0]
        )  # a misspelt key also misses the right one
        line, where = _locate(tree, first["loc"], is_absent=first["type"] == "missing")
        raise UsageError(f"{path}:{line}: {where or 'the file'}: {_sentence(first, model)}") from error
    if (location := _yes_for_a_number(value, found, ())) is not None:
        line, where = _locate(tree, location, is_absent=False)
        raise UsageError(f"{path}:{line}: {where}: expected a number, found true or false")
    return found


def key_line(path: Path, key: str) -> int:
    """The line of a key of a file that was read."""
    tree, _ = _parse(path, _read(path))
    names = (key, key.replace("_", "-"))
    return next((found[0] for name in names if (found := _child(tree, name))), 1)


def line_in(path: Path, ways: Iterable[Location]) -> int | None:
    """The line of the first of these keys, each with those above it, that a file which was read has."""
    tree, _ = _parse(path, _read(path))
    for way in ways:
        line, found = _locate(tree, way, is_absent=False)
        if found == ".".join(map(str, way)):
            return line
    return None


def parse_scalar(text: str) -> object:
    """One value as YAML reads it: "2" is an int, "true" a bool, "auto" a str; what is no YAML stays the text."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def _read(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} cannot be read: it is {'a folder' if path.is_dir() else 'no regular file'}")
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} cannot be read: it is larger than {MAX_BYTES >> 20} MiB")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{path} cannot be read: {reason}") from error
    except ValueError as error:  # a NUL in the path
        raise UsageError(f"{str(path)!r} cannot be read: {error}") from error


def _parse(path: Path, text: str) -> tuple[yaml.Node | None, Any]:
    """The nodes, with their lines, and what they mean."""
    with contextlib.suppress(yaml.YAMLError, RecursionError, ValueError):
        return _parse_by(_FAST, path, text)
    try:
        return _parse_by(yaml.SafeLoader, path, text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        if (
            isinstance(error, yaml.composer.ComposerError)
            and error.context == "expected a single document in the stream"
        ):
            raise UsageError(
                f"{path}:{line}: the file has several YAML documents (`---`) and tuner reads files with one: it looks like "
                "a manifest of another tool; `vllm serve --config` takes no such file either"
            ) from error
        raise UsageError(f"{path}:{line}: this is not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: this is not valid YAML: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{path}: this is nested too deeply") from error
    except ValueError as error:  # a date that is none, a number of too many digits
        raise UsageError(f"{path}: a value in it cannot be read: {error}") from error


def _parse_by(loader: Any, path: Path, text: str) -> tuple[yaml.Node | None, Any]:
    tree = yaml.compose(text, Loader=loader)
    if tree is not None:
        _check_nodes(path, tree)
    return tree, yaml.load(text, Loader=loader)


def _check_nodes(path: Path, tree: yaml.Node) -> None:
    """Raises UsageError for a key that is there twice, and for aliases that stand for themselves or for far too much."""
    sizes: dict[int, int | None] = {}  # None while it is counted

    def size(node: yaml.Node) -> int:
        known = sizes.setdefault(id(node), 0)
        if known is None:
            raise UsageError(f"{path}:{node.start_mark.line + 1}: this holds itself")
        if known:
            return known
        sizes[id(node)] = None
        if isinstance(node, yaml.MappingNode):
            _check_keys(path, node)
            children = [one for pair in node.value for one in pair]
        else:
            children = node.value if isinstance(node, yaml.SequenceNode) else []
        total = sizes[id(node)] = 1 + sum(map(size, children))
        if total > MAX_NODES:
            raise UsageError(f"{path}:{node.start_mark.line + 1}: this holds more than {MAX_NODES:,} values")
        return total

    size(tree)


def _check_keys(path: Path, node: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise UsageError(f"{path}:{line}: a key is a word, and this is a list or `key: value` lines")
        if (first := lines.get(key.value)) is not None:
            raise UsageError(f"{path}:{line}: {key.value}: this key is already in line {first}: leave one of them out")
        lines[key.value] = line


def _yes_for_a_number(raw: object, read: object, location: Location) -> Location | None:
    """Where pydantic took a yes or no of the file for the 1 or 0 that it read."""
    if isinstance(raw, bool):
        return None if isinstance(read, bool) or not isinstance(read, int | float) else location
    pairs: list[tuple[int | str, object, object]] = []
    if isinstance(raw, dict):
        pairs = [(key, value, _part(read, str(key))) for key, value in raw.items()]
    elif isinstance(raw, list) and isinstance(read, list | tuple):
        pairs = [(place, one, other) for place, (one, other) in enumerate(zip(raw, read, strict=False))]
    found = (_yes_for_a_number(one, other, (*location, key)) for key, one, other in pairs)
    return next((one for one in found if one is not None), None)


def _part(read: object, key: str) -> object:
    if isinstance(read, BaseModel):
        return getattr(read, key.replace("-", "_"), None)
    return read.get(key) if isinstance(read, Mapping) else None


def _keys(model: type[BaseModel]) -> set[str]:
    """All keys that the model and those in it know, as they are written."""
    found = set[str]()
    for name, field in model.model_fields.items():
        found |= {field.alias or name}
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel) and inner is not model:
                found |= _keys(inner)
    return found


def _sentence(error: Any, model: type[BaseModel]) -> str:
    kind, found = error["type"], error.get("input")
    if kind == "extra_forbidden":
        key, names = str(error["loc"][-1]), _keys(model)
        if other := {"-": "_", "_": "-"}.get(
            next((letter for letter in key if letter in "-_"), "")
        ):  # as it is written there
            names = {name.replace(other, "_" if other == "-" else "-") for name in names}
        return "unknown key" + did_you_mean(key, names)
    if kind == "missing":
        return "this key is required"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, found {_shown(found)}"
    if told := _of_its_limits(kind, found, error.get("ctx", {})):
        return told
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{message[0].lower()}{message[1:]}"


def _of_its_limits(kind: str, found: object, limits: Mapping[str, Any]) -> str | None:
    """What is out of bounds, or none of a few words."""
    if kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        limit = f"{limits[key]:,}".removesuffix(".0")
        return f"expected a number {word} {limit}, found {_shown(found)}"
    if kind == "too_short":
        return f"expected at least {limits['min_length']} of them, found {limits['actual_length'] or 'none'}"
    if kind == "literal_error":
        return f"expected {limits['expected']}, found {_shown(found)}"
    if kind == "union_tag_not_found":
        return f"the key {limits['discriminator']} is required"
    if kind == "union_tag_invalid":
        words = [word.strip("'") for word in str(limits["expected_tags"]).split(", ")]
        return f"unknown {limits['discriminator']} {str(limits['tag'])!r}{choose(str(limits['tag']), words)}"
    return None


def _shown(value: object) -> str:
    """A value as YAML has it, shortened."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case str():
            return f"the text {value[:60]!r}"
        case Mapping():
            return "`key: value` lines"
        case list() | tuple():
            return "a list"
    return str(value)[:60]


def _locate(node: yaml.Node | None, location: Location, *, is_absent: bool) -> tuple[int, str]:
    """The line of the deepest node on the way to `location`, and the way as "a.b.c".

    pydantic's location also holds the tags of its unions, which are no keys of the file: they are left out.
    """
    line, way = 1, []
    for position, part in enumerate(location):
        inner = _child(node, part)
        if inner is not None:
            line, node = inner
            way.append(str(part))
        elif is_absent and position == len(location) - 1:
            way.append(str(part))
    return line, ".".join(way)


def _child(node: yaml.Node | None, part: int | str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((k.start_mark.line + 1, value) for k, value in node.value if k.value == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line + 1, node.value[part]
    return None
