"""A text that a server wrote, or an address, in; the same without what looks like a secret, out. Pure.

Names alone tell most secrets (tuner.space.words.is_secret); in a text a value stands behind its name, or is known by its form.
"""

import re
from collections.abc import Iterable

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


def shown_url(url: str) -> str:
    """An address as a message may repeat it: without what a password or a key may be in."""
    place, question, _ = url.partition("?")
    if "@" in place:
        place = f"{HIDDEN}{place[place.rindex('@') :]}"
    return f"{place}?{HIDDEN}" if question else place
