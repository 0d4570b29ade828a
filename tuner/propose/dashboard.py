"""A database in, optuna-dashboard's pages out, where the best trial is the best one that meets every SLO."""

from wsgiref.simple_server import WSGIRequestHandler, make_server

import optuna
import optuna_dashboard
from optuna.trial import FrozenTrial

from tuner.errors import UsageError
from tuner.propose.proposer import storage


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return


def serve_dashboard(url: str, host: str, port: int) -> None:
    """Serve until interrupted. Raises UsageError if the port is taken."""
    shown = storage(url)
    shown.get_best_trial = lambda study_id: _best_feasible(shown, study_id)  # type: ignore[method-assign]
    try:
        server = make_server(host, port, optuna_dashboard.wsgi(shown), handler_class=_QuietHandler)
    except OSError as error:
        raise UsageError(f"{host}:{port} cannot be used: {error.strerror}: choose another with --port") from error
    with server:
        server.serve_forever()


def _best_feasible(shown: optuna.storages.RDBStorage, study_id: int) -> FrozenTrial:
    """Optuna's storage ignores constraints when it names the best trial. Where none is feasible: the nearest to it."""
    maximize = shown.get_study_directions(study_id)[0] == optuna.study.StudyDirection.MAXIMIZE
    trials = shown.get_all_trials(study_id, deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    measured = [(sum(max(0.0, v) for v in t.constraints.values()), t.value, t) for t in trials if t.value is not None]
    return min(measured, key=lambda m: (m[0], -m[1] if maximize else m[1]))[2]
