"""Options in, the words of a command line that says the same out. Where the database is, is said in the environment: a URL may
hold a password, and a command line is seen by all. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import fields

from tuner.study.options import Options

STORAGE = "TUNER_STORAGE"
#: What would be an option beside those that are said.
_HEEDED = frozenset({f"TUNER_{field.name.upper()}" for field in fields(Options)} | {"TUNER_CONFIG"})


def flags(options: Options, without: Collection[str] = ()) -> list[str]:
    """Those that are not the default; none for the fields of `without`, nor for the database."""
    usual, words = Options(), list[str]()
    for field in fields(Options):
        value = getattr(options, field.name)
        if field.name in without or field.name == "storage" or value == getattr(usual, field.name):
            continue
        flag = f"--{field.name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag)
        else:
            words += [f"{flag}={one}" for one in (value if isinstance(value, tuple | list) else (value,))]
    return words


def environment(options: Options, mine: Mapping[str, str]) -> dict[str, str]:
    """Ours for a command of these flags: nothing in it is another option, and it names the database."""
    handed = {name: value for name, value in mine.items() if name not in _HEEDED}
    return {**handed, STORAGE: options.storage}
