"""An address as a user copied it in; the server's own, which stands before its routes, out. Pure."""

#: What is often copied with the address, the last part first.
_ROUTES = ("/metrics", "/chat/completions", "/completions", "/models", "/v1")


def server_url(address: str) -> str:
    """With http:// where nothing is said, and without a route."""
    url = (address if "://" in address else f"http://{address}").rstrip("/")
    for route in _ROUTES:
        url = url.removesuffix(route).rstrip("/")
    return url
