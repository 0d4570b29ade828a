"""What is told as JSON in; the same with null for what JSON has no number of, or its text, out. Pure."""

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any


def finite(value: Any) -> Any:
    """What is infinite, such as a gain over nothing, is None."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(one) for key, one in value.items()}
    return [finite(one) for one in value] if isinstance(value, list | tuple) else value


def json_text(record: Mapping[str, Any]) -> str:
    """As the commands print and write it."""
    return json.dumps(finite(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
