"""A model's config.json: its fields, checked, out; UsageError with file, field and value for what no model has.

It knows JSON and sizes, not what the fields mean.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tuner.errors import UsageError


@dataclass(frozen=True, slots=True)
class Config:
    """The fields of the text model, and where they are from. A field that is null counts as absent. `unknown`: the family of
    models, where it is one that may call its sizes otherwise."""

    fields: Mapping[str, Any]
    where: str
    unknown: str | None = None

    def get(self, *names: str) -> Any:
        """The first of these fields that is there, None without any."""
        return next((self.fields[name] for name in names if self.fields.get(name) is not None), None)

    def size(self, *names: str, default: int | None = None, least: int = 1, most: int = 10**7) -> int:
        """A whole number in least..most; `names` are one field's names in different models. A list of one number for each
        layer is that number, if it is the same for all."""
        value = self.get(*names)
        if isinstance(value, list) and value and all(each == value[0] for each in value):
            value = value[0]
        if value is None and default is not None:
            return default
        if value is None and self.unknown is not None:
            raise UsageError(
                f"{self.where}: tuner does not know the models of {self.unknown}, and they do not name {names[0]} as others do"
            )
        if value is None:
            raise UsageError(f"{self.where}: there is no {names[0]}, so the size of the model cannot be told")
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            found = next(name for name in names if self.fields.get(name) is not None)
            one = ", the same for all layers" if isinstance(value, list) else ""
            self.wrong(found, f"a whole number in {least}..{most}{one}")
        return int(value)

    def flag(self, name: str, *, default: bool) -> bool:
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            self.wrong(name, "true or false")
        return default if value is None else value

    def wrong(self, name: str, expected: str) -> NoReturn:
        raise UsageError(f"{self.where}: {name} is {json.dumps(self.fields[name])[:80]}; it must be {expected}")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; UsageError where it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}:{error.lineno}: this is not JSON: {error.msg}") from None
    except (RecursionError, ValueError) as error:
        raise UsageError(f"{path}: this is not JSON that can be read: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path}: expected a JSON object, found {type(found).__name__}")
    return found
