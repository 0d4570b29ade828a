"""The last line of a page in, the text that begins the next page out, and back. Pure."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime

from tuner.record.listing import Listed
from tuner.serve.refused import Refused

_NONE = "after: this is no end of a page of this list"


def study_token(one: Listed) -> str:
    return text_token(f"{one.since.isoformat()} {one.name}")


def text_token(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def study_after(token: str) -> Listed:
    """What `study_token` was made of."""
    since, _, name = _text(token).partition(" ")
    try:
        return Listed(name=name, since=datetime.fromisoformat(since).astimezone(UTC))
    except (ValueError, OverflowError):
        raise Refused(_NONE) from None


def number_after(token: str) -> int:
    """The number that `text_token` was made of."""
    text = _text(token)
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise Refused(_NONE)
    return int(text)


def _text(token: str) -> str:
    try:
        return urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except ValueError:
        raise Refused(_NONE) from None
