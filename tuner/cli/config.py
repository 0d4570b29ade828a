"""The YAML of `tuner optimize --config`: the same names as the flags, each with the same meaning."""

from pathlib import Path
from typing import Any, get_type_hints

import typer
from pydantic import BaseModel, ConfigDict, create_model

from tuner.space.yaml_file import read_yaml
from tuner.study.options import Options

#: Keys are written as the flags are (max-model-len), or as the environment has them (max_model_len).
_Closed = ConfigDict(
    extra="forbid",
    frozen=True,
    alias_generator=lambda name: name.replace("_", "-"),
    validate_by_name=True,
    validate_by_alias=True,
)


def _model() -> type[BaseModel]:
    """A model with a key per option, of the option's type."""
    fields: Any = {name: (kind | None, None) for name, kind in get_type_hints(Options).items()}
    return create_model("Config", __config__=_Closed, **fields)


def read_config(context: typer.Context, value: Path | None) -> Path | None:
    """Typer callback of --config: the file's values become the defaults, below flags and environment."""
    if value is not None:
        read = read_yaml(value, _model()).model_dump(exclude_none=True)
        context.default_map = {**(context.default_map or {}), **read}
    return value
