"""A request in; whether it may be answered at all, out: the Host it means, its token, and whether another site's page sent it.

A browser sends requests for any page that it shows: one of another site must not read here by a name that it lets resolve to
this address (Host), nor change anything (Origin). It knows no route.
"""

import hmac
from base64 import b64decode
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from aiohttp.web import Request

from tuner.propose.hosts import is_this_machine, own_names

_SAFE = ("GET", "HEAD", "OPTIONS")
#: What every answer of ours says to a browser.
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Barred:
    """An answer instead of the one that was asked for."""

    status: int
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """`token` is None where none is needed; `names` are the hosts' that the service is reached by, beside addresses; `open` are
    the paths that need no token, and `below` what such paths begin with."""

    token: str | None
    names: frozenset[str]
    open: frozenset[str] = frozenset()
    below: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, host: str, token: str | None, more: Collection[str], open: Collection[str], below: Collection[str] = ()
    ) -> "Guard":
        return cls(token=token, names=own_names(host, more), open=frozenset(open), below=tuple(below))

    def barred(self, request: Request) -> Barred | None:
        """None for one that may be answered."""
        if not is_this_machine(request.headers.get("Host", ""), self.names):
            return Barred(
                421, "this is asked for under a name that is not this machine's: use its address, or localhost"
            )
        if self.token is not None and not self._is_open(request.path) and not self._has_token(request):
            return Barred(401, "the token is missing or wrong: send Authorization: Bearer TOKEN")
        if request.method not in _SAFE and not _is_meant(request):
            return Barred(
                403, "this changes something and may come from a page of another site: send the header X-Tuner: 1"
            )
        return None

    def _is_open(self, path: str) -> bool:
        return path in self.open or (bool(self.below) and path.startswith(self.below))

    def _has_token(self, request: Request) -> bool:
        """As a bearer, or as the password that a browser asks a person for. How long comparing takes says nothing."""
        assert self.token is not None
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "basic":
            try:
                given = b64decode(given, validate=True).decode().partition(":")[2]
            except ValueError:
                return False
        elif kind.lower() != "bearer":
            return False
        return hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), self.token.encode())


def _is_meant(request: Request) -> bool:
    """A form of another site can send neither this header nor our Origin; what says another Origin is refused in any case.
    Behind a proxy ours may be https."""
    origin = request.headers.get("Origin")
    if origin is None:
        return request.headers.get("X-Tuner") == "1"
    return origin.lower() in (f"http://{request.host}".lower(), f"https://{request.host}".lower())
