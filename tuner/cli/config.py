"""The YAML of `tuner optimize --config`: the same names as the flags, each with the same meaning."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model

from tuner.cli.options import FIELDS
from tuner.space.yaml_file import read_yaml

#: Keys are written as the flags are (max-model-len), or as the environment has them (max_model_len).
_Closed = ConfigDict(
    extra="forbid",
    frozen=True,
    alias_generator=lambda name: name.replace("_", "-"),
    validate_by_name=True,
    validate_by_alias=True,
)


def read_config(path: Path) -> dict[str, object]:
    """What the file says, by the option's name. Raises UsageError."""
    keys: Any = {name: (kind | None, None) for name, kind in FIELDS.items()}
    model: type[BaseModel] = create_model("Config", __config__=_Closed, **keys)
    return read_yaml(path, model).model_dump(exclude_none=True)
