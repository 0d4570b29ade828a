"""A trial in, one shell command out: the tuple that the launch ran, with the user's host and port."""

import shlex

from tuner.export.caution import environment_words
from tuner.export.chosen import Chosen
from tuner.export.engines import server, together
from tuner.export.provenance import comments, head, warnings
from tuner.export.serving import environment, headless


def export_command(chosen: Chosen) -> str:
    on_card = f"on the card: {on_the_card(chosen)}" if chosen.fingerprint.unreal else None
    return head(chosen, on_card) + _launched(chosen)


def bare_command(chosen: Chosen) -> str:
    """What to run on the card, below what keeps it from being relied on, and not where it comes from."""
    line = f"{on_the_card(chosen)}\n" if chosen.fingerprint.unreal else _launched(chosen)
    return comments(warnings(chosen)) + line


def on_the_card(chosen: Chosen) -> str:
    """`vllm serve` with the settings, whatever ran."""
    return shlex.join(server(chosen, ("vllm", "serve"), _address(chosen)))


def _launched(chosen: Chosen) -> str:
    words = environment_words(environment(chosen.trial.command))
    command, where = chosen.trial.command, chosen.fingerprint
    launched = together((*command.argv, *_address(chosen)), headless(command, where), mps=where.mps)
    return " ".join([*words, shlex.join(launched)]) + "\n"


def _address(chosen: Chosen) -> tuple[str, ...]:
    return ("--host", chosen.host, "--port", str(chosen.port))
