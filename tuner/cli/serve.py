"""`tuner serve`: studies over HTTP, until Ctrl-C."""

import logging
from collections.abc import Sequence
from pathlib import Path

from tuner.cli.console import check_address, errors, plain, say
from tuner.serve.allowed import allowed
from tuner.serve.child import Places
from tuner.serve.service import Address, check_open, read_token, serve
from tuner.study.options import Options


class _Screen(logging.Handler):
    """The service's log on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        errors.print(plain(self.format(record)), markup=False, highlight=False, soft_wrap=True)


def run(
    options: Options,
    host: str,
    port: int,
    token_file: Path | None,
    allow: Path | None,
    models: Sequence[str],
    names: Sequence[str],
) -> None:
    """Serve until Ctrl-C."""
    check_address(host, port)
    token = None if token_file is None else read_token(token_file)
    address = Address(host=host, port=port, token=token, names=names)
    check_open(address)
    may = allowed(allow, models)
    screen = _Screen()
    screen.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log = logging.getLogger("tuner.serve")
    log.addHandler(screen)
    log.setLevel(logging.INFO)
    log.propagate = False
    places = Places(
        storage=options.storage,
        logs=options.log_dir.absolute(),
        caches=options.cache_dir,
        python=options.vllm_python,
    )
    shown = f"[{host}]" if ":" in host else host
    asked = " (with the token)" if token else ""
    serve(may, places, address, lambda: say(errors, f"tuner: http://{shown}:{port}/{asked}"))
