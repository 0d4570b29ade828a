"""The YAML of `tuner optimize --config`: the same names as the flags, each with the same meaning."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, create_model

from tuner.cli.options import FIELDS
from tuner.errors import UsageError
from tuner.space.yaml_file import key_line, read_yaml
from tuner.study.checks import check_values
from tuner.study.options import Options

#: Keys are written as the flags are (max-model-len), or as the environment has them (max_model_len).
_Closed = ConfigDict(
    extra="forbid",
    frozen=True,
    alias_generator=lambda name: name.replace("_", "-"),
    validate_by_name=True,
    validate_by_alias=True,
)


def _listed(value: object) -> object:
    """One objective need not be a list."""
    return [value] if isinstance(value, str) else value


def _text(value: object) -> object:
    """A whole number may be the text of an option, such as of `parallel`."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def read_config(path: Path) -> dict[str, object]:
    """What the file says, by the option's name. Raises UsageError, with the line also of what only the option knows to be
    wrong."""
    keys: Any = {name: (kind | None, None) for name, kind in FIELDS.items()}
    keys["parallel"] = (Annotated[str | None, BeforeValidator(_text)], None)
    keys["objective"] = (Annotated[Sequence[str] | None, BeforeValidator(_listed)], None)
    model: type[BaseModel] = create_model("Config", __config__=_Closed, **keys)
    found = read_yaml(path, model).model_dump(exclude_none=True)
    for name, value in found.items():
        try:
            check_values(Options(**{name: value}))
        except UsageError as error:
            raise UsageError(f"{path}:{key_line(path, name)}: {error}") from error
    return found
