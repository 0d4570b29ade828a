"""`tuner dashboard`: a database's studies in optuna-dashboard."""

import threading
from pathlib import Path

import typer

from tuner.cli.console import check_address, errors, say
from tuner.cli.history import open_store
from tuner.export.unreal import unreal_sentence
from tuner.interrupts import heed_signals
from tuner.propose.dashboard import serve_dashboard
from tuner.record.store import Store
from tuner.study.artifacts import Artifacts
from tuner.study.showing import bring_all_up_to_date

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def run(storage: str, log_dir: Path, host: str, port: int) -> None:
    """Serve until Ctrl-C."""
    check_address(host, port)
    heed_signals()
    store = open_store(storage)
    if host not in _LOOPBACK:
        say(
            errors,
            f"The dashboard has no password: whoever reaches {host}:{port} on this machine can read every study.",
        )
    shown = f"[{host}]" if ":" in host else host
    # the pages need not wait for what is written about older studies
    threading.Thread(target=bring_all_up_to_date, args=(store,), name="up-to-date", daemon=True).start()

    def listening() -> None:
        say(errors, f"optuna-dashboard: http://{shown}:{port}/dashboard/")

    try:
        with store.errors():
            serve_dashboard(
                store.url,
                host,
                port,
                opener=store.opener,
                banner=_banner(store),
                files=Artifacts(store, log_dir.absolute()),
                listening=listening,
            )
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    finally:
        store.close()


def _banner(store: Store) -> str:
    """What is not real is called so, and nobody takes the best of a search for the answer."""
    told: dict[str, list[str]] = {}
    for study in store.studies():
        if sentence := unreal_sentence(study.fingerprint):
            told.setdefault(sentence, []).append(study.name)
    unreal = [f"{', '.join(names)}: {sentence}" for sentence, names in told.items()]
    return " ".join([*unreal, "The best trial here is the search's; `tuner show STUDY` says what is verified."])
