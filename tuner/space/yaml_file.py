"""A YAML file and a pydantic model in; a validated value out, or one sentence with file and line.

The only reader of YAML. It knows nothing of what the files mean.
"""

from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from tuner.errors import UsageError, did_you_mean

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[int | str, ...]


def read_yaml(path: Path, model: type[Model]) -> Model:
    """Parse `path` into `model`. Raises UsageError "file:line: what is wrong"."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{path} cannot be read: {reason}") from error
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
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
    if not isinstance(value, dict):
        raise UsageError(f"{path}:1: expected `key: value` lines, found {type(value).__name__}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False)
        first = next(
            (e for e in found if e["type"] == "extra_forbidden"), found[0]
        )  # a misspelt key also misses the right one
        line, where = _locate(tree, first["loc"], is_absent=first["type"] == "missing")
        hint = did_you_mean(str(first["loc"][-1]), _keys(model)) if first["type"] == "extra_forbidden" else ""
        raise UsageError(f"{path}:{line}: {where or 'the file'}: {_sentence(first)}{hint}") from error


def parse_scalar(text: str) -> object:
    """One value as YAML reads it: "2" is an int, "true" a bool, "auto" a str; what is no YAML stays the text."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _keys(model: type[BaseModel]) -> set[str]:
    """All keys that the model and those in it know, as they are written."""
    found = set[str]()
    for name, field in model.model_fields.items():
        found |= {field.alias or name}
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel) and inner is not model:
                found |= _keys(inner)
    return found


def _sentence(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown key"
    if error["type"] == "missing":
        return "this key is required"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{message[0].lower()}{message[1:]}"


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
