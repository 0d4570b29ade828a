"""The JSON of a user's file in; its value out, as `json.loads` has it, but that a key which is there twice is a fault. Pure."""

import json


class TwiceError(ValueError):
    """`msg` says it, as that of a JSONDecodeError says what is wrong."""

    def __init__(self, key: str) -> None:
        self.msg = f"the key {key!r} is there twice"
        super().__init__(self.msg)


def read_json_text(text: str) -> object:
    """Raises ValueError where it is none (a JSONDecodeError) or has a key twice (a TwiceError), RecursionError where it is
    nested too deeply."""
    value: object = json.loads(text, object_pairs_hook=_once)
    return value


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise TwiceError(next(key for key in keys if keys.count(key) > 1))
    return found
