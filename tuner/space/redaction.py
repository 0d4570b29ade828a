"""A text that a server wrote, or an address, in; the same without what looks like a secret, out. Pure.

Names alone tell most secrets (tuner.space.words.is_secret); in a text a value stands behind its name, or is known by its form.
"""

import re
import shlex
from collections.abc import Iterable, Sequence

from tuner.space.words import is_secret, is_secret_argument

HIDDEN = "***"
#: NAME=value, 'name': 'value', --name value. Of names in small letters only those that vLLM and its libraries have.
_NAMED = re.compile(
    r"""(?P<name>
        (?<![A-Za-z0-9_])[A-Z][A-Z0-9_]*(?:TOKEN(?!IZ|S)|KEY|SECRET|PASSWORD)[A-Z0-9_]*["']?\s*[=:]\s*\[?["']?
        |(?<![A-Za-z0-9_])(?:hf[-_]token|api[-_]?key|auth[-_]?token|access[-_]?token|secret[-_]?key|client[-_]?secret|password)
            (?:["']?\s*[=:]\s*\[?["']?)
        |--(?:hf-token|api-key)\s+["']?
    )(?P<value>[^\s"',;)\]}]+)""",
    re.VERBOSE,
)
_FORMS = re.compile(r"\bhf_[A-Za-z0-9]{16,}|\bsk-[A-Za-z0-9_-]{16,}|(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{8,}")
_IN_URL = re.compile(r"(?<=://)([^\s/:@]*):([^\s/@]+)@")
#: A shorter one would hide half of the text.
_LEAST = 6
_PAIR = re.compile(r"""(?P<said>["'](?P<name>[^"']+)["']\s*:\s*)(?:"(?:\\.|[^"\\])*"|'[^']*'|[^\s"',{}\[\]]+)""")
_NO_SECRET = frozenset({"None", "null", "True", "False", HIDDEN})


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """`secrets` are values that are known to be such."""
    for secret in sorted({one for one in secrets if len(one) >= _LEAST}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _IN_URL.sub(rf"\1:{HIDDEN}@", text)
    text = _FORMS.sub(HIDDEN, text)
    return _NAMED.sub(_hide, text)


def _hide(found: "re.Match[str]") -> str:
    return found[0] if found["value"] in _NO_SECRET else f"{found['name']}{HIDDEN}"


def redacted_command(words: Sequence[str]) -> str:
    """The words of a shell's command; variables, flags and keys of a nested config that are named like a secret are known by
    their names, however short their values are."""
    shown, is_hidden = list[str](), False
    for word in words:
        name, equals, _ = word.partition("=")
        if re.fullmatch(r"[A-Za-z_]\w*", name) and equals and is_secret(name):
            shown.append(f"{name}={HIDDEN}")
        elif word.startswith("--"):
            is_hidden = is_secret_argument(name.removeprefix("--"))
            shown.append(f"{name}={HIDDEN}" if is_hidden and equals else _redacted_word(word))
        else:
            shown.append(HIDDEN if is_hidden else _redacted_word(word))
    return " ".join(shown)


def _redacted_word(word: str) -> str:
    pairs = _PAIR.sub(lambda pair: f"{pair['said']}{HIDDEN}" if is_secret_argument(pair["name"]) else pair[0], word)
    return shlex.quote(redacted(pairs))


def shown_url(url: str) -> str:
    """An address as a message may repeat it: without what a password or a key may be in."""
    place, question, _ = url.partition("?")
    if "@" in place:
        place = f"{HIDDEN}{place[place.rindex('@') :]}"
    return f"{place}?{HIDDEN}" if question else place
