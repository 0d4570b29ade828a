"""The Host of a request in; whether it means this machine, out. Pure but for the machine's own name.

A page of another site may be reached by a name that it lets resolve to this address, and then read here: so a Host has to be
an address, or a name that is known.
"""

import ipaddress
import re
import socket
from collections.abc import Collection, Iterable

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::\d{1,5})?")


def own_names(host: str, more: Iterable[str] = ()) -> frozenset[str]:
    """What a server that listens on `host` is called."""
    return frozenset(name.lower() for name in ("localhost", host, socket.gethostname(), *more))


def is_this_machine(named: str, names: Collection[str]) -> bool:
    """An address is; so is one of the names. Any other may be of a site that lets it resolve to this address."""
    if (host := _HOST.fullmatch(named)) is None:
        return False
    name = host[1].strip("[]").lower()
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in names
    return True
