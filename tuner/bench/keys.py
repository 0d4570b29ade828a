"""A server's URL in; the key that may be sent to it out. From the environment only: a flag would be seen in the list of
processes and kept in the shell's history.

TUNER_API_KEY is meant for what is measured, and goes there. OPENAI_API_KEY is often set for something else: it goes to this
machine and over https only, unless it is said that it shall.
"""

import ipaddress
import os
from urllib.parse import urlsplit


def key_for(url: str, *, send: bool) -> str | None:
    """The bearer token for a server; `send` is the user's word that OPENAI_API_KEY may go there in plain text."""
    if own := os.environ.get("TUNER_API_KEY"):
        return own
    secure = url.startswith("https://")
    return (os.environ.get("OPENAI_API_KEY") or None) if send or secure or is_here(url) else None


def withheld(url: str, *, send: bool) -> bool:
    """Whether there is a key that `key_for` does not give."""
    return bool(os.environ.get("OPENAI_API_KEY")) and key_for(url, send=send) is None


def is_here(url: str) -> bool:
    """Whether the server is on this machine."""
    host = ""
    try:
        host = urlsplit(url if "://" in url else f"http://{url}").hostname or ""
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified
