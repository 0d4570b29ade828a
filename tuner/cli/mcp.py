"""`tuner mcp`: the verbs of the service for an agent, over stdin and stdout."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from tuner.cli.console import errors, say
from tuner.errors import UsageError


def run(storage: str, allow: Path | None, models: Sequence[str]) -> None:
    """Until the agent closes its end."""
    if find_spec("mcp") is None:
        raise UsageError("`tuner mcp` needs the MCP SDK: pip install 'tuner[mcp]'")
    from tuner.serve.allowed import allowed
    from tuner.serve.mcp_server import serve_stdio
    from tuner.serve.verbs import Verbs

    verbs = Verbs(storage, allowed(allow, models))
    try:
        serve_stdio(verbs, lambda text: say(errors, text))
    finally:
        verbs.close()
