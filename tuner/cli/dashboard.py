"""`tuner dashboard`: a database's studies in optuna-dashboard."""

import typer

from tuner.cli.console import check_address, errors, heed_signals
from tuner.cli.history import open_store
from tuner.propose.dashboard import serve_dashboard


def run(storage: str, host: str, port: int) -> None:
    """Serve until Ctrl-C."""
    check_address(host, port)
    store = open_store(storage)
    store.close()
    heed_signals()
    errors.print(f"optuna-dashboard: http://{host}:{port}/dashboard/", highlight=False)
    try:
        serve_dashboard(store.url, host, port)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
