"""A trial in, one shell command out: the tuple that the launch ran, with the user's host and port."""

import shlex

from tuner.export.caution import environment_words
from tuner.export.chosen import Chosen
from tuner.export.provenance import head
from tuner.export.serving import environment, launched_arguments


def export_command(chosen: Chosen) -> str:
    address, argv = ("--host", chosen.host, "--port", str(chosen.port)), chosen.trial.command.argv
    real = ("vllm", "serve", *launched_arguments(chosen), *address)
    on_card = f"on the card: {shlex.join(real)}" if chosen.fingerprint.unreal else None
    words = [*environment_words(environment(chosen.trial.command)), shlex.join((*argv, *address))]
    return head(chosen, on_card) + " ".join(words) + "\n"
