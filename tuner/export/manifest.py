"""Documents in, YAML out that every parser reads alike. Pure.

PyYAML leaves plain what other parsers take for numbers (1e3 and 0o7 in Go's), so a text is quoted unless it is a plain word.
"""

import math
import re
from collections.abc import Iterable

import yaml

Tree = dict[str, object]

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9./_-]*")
_NO_TEXT = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null", "inf", "nan"))


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    is_plain = _PLAIN.fullmatch(text) is not None and text.lower() not in _NO_TEXT
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain else '"')


_Dumper.add_representer(str, _text)


def yaml_text(documents: Iterable[Tree]) -> str:
    """The documents, with --- between them; no line is folded."""
    return "---\n".join(
        yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf)
        for document in documents
    )
