"""A YAML file and a pydantic model in; a validated value out, or one sentence with file and line.

The only reader of YAML. It knows nothing of what the files mean.
"""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from tuner.errors import UsageError

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
        raise UsageError(f"{path}:{line}: this is not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: this is not valid YAML: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path}:1: expected `key: value` lines, found {type(value).__name__}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        line = _line(tree, first["loc"])
        raise UsageError(f"{path}:{line}: {where}: {_sentence(first)}") from error


def parse_scalar(text: str) -> object:
    """One value as YAML reads it: "2" is an int, "true" a bool, "auto" a str; what is no YAML stays the text."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _sentence(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown key"
    if error["type"] == "missing":
        return "this key is required"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{message[0].lower()}{message[1:]}"


def _line(node: yaml.Node | None, location: Location) -> int:
    """The line of the deepest node on the way to `location` (pydantic adds union tags, which are no keys: skipped)."""
    line = 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, node = key.start_mark.line + 1, value
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line
