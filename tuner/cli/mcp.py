"""`tuner mcp`: the verbs of the service for an agent, over stdin and stdout."""

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from tuner.errors import UsageError
from tuner.study.options import Options


def run(options: Options, allow: Path | None, models: Sequence[str], *, queue: bool) -> None:
    """Until the agent closes its end. With `queue` what is queued is run here."""
    if find_spec("mcp") is None:
        raise UsageError("`tuner mcp` needs the MCP SDK: pip install 'tuner[mcp]'")
    from tuner.serve.allowed import allowed
    from tuner.serve.child import Places
    from tuner.serve.mcp_server import serve_stdio
    from tuner.serve.verbs import Verbs
    from tuner.serve.working import Worker

    may = allowed(allow, models)
    places = Places(
        storage=options.storage,
        logs=options.log_dir.absolute(),
        caches=options.cache_dir,
        python=options.vllm_python,
    )
    verbs = Verbs(options.storage, may)
    log = _log()
    worker = Worker(verbs.queue, verbs.reading, may, places, lambda text: log.info("%s", text)) if queue else None
    serve_stdio(verbs, worker)


def _log() -> logging.Logger:
    """On stderr: stdout is the agent's."""
    log = logging.getLogger("tuner.serve")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    return log
