"""An address as a user copied it in; the server's own, which stands before its routes, out. Pure."""

from urllib.parse import SplitResult, urlsplit

#: What is often copied with the address, the last part first.
_ROUTES = ("/metrics", "/chat/completions", "/completions", "/models", "/v1")


def server_url(address: str) -> str:
    """With http:// where nothing is said, and without a route."""
    url = (address if "://" in address else f"http://{address}").rstrip("/")
    for route in _ROUTES:
        url = url.removesuffix(route).rstrip("/")
    return url


def parts_of(url: str) -> SplitResult | None:
    """Of a server's URL; None for what is none."""
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return None
    is_plain = url.isprintable() and " " not in url and not (parts.query or parts.fragment)
    return parts if is_one and is_plain else None
