"""A server's URL in; the key that may be sent to it out. From the environment only: a flag would be seen in the list of
processes and kept in the shell's history.

TUNER_API_KEY is meant for what is measured, and goes there. OPENAI_API_KEY is often set for something else: it goes to this
machine and over https only, unless it is said that it shall.
"""

import ipaddress
import os
from urllib.parse import urlsplit

from tuner.errors import UsageError

_OWN, _OTHERS = "TUNER_API_KEY", "OPENAI_API_KEY"


def key_for(url: str, *, send: bool) -> str | None:
    """The bearer token for a server; `send` is the user's word that OPENAI_API_KEY may go there in plain text. Raises
    UsageError for what is no key."""
    name = next((name for name in (_OWN, _OTHERS) if os.environ.get(name)), None)
    if name is None or (name == _OTHERS and not (send or url.startswith("https://") or is_here(url))):
        return None
    return checked(os.environ[name], f"the key in {name}")


def checked(key: str, name: str) -> str:
    """What a header can hold. Raises UsageError, which does not show it."""
    if not (key.isascii() and key.isprintable()) or key != key.strip():
        raise UsageError(f"{name} is no key: it has a line break, blanks at an end, or what is not ASCII")
    return key


def withheld(url: str, *, send: bool) -> bool:
    """Whether there is a key that `key_for` does not give."""
    return bool(os.environ.get(_OTHERS)) and key_for(url, send=send) is None


def is_here(url: str) -> bool:
    """Whether the server is on this machine."""
    host = ""
    try:
        host = urlsplit(url if "://" in url else f"http://{url}").hostname or ""
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified
