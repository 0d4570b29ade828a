"""A trial in, one shell command out: the tuple that the launch ran, with the user's host and port."""

import shlex

from tuner.decide.verdict import Verdict
from tuner.export.caution import cautions, environment_words, verdict_sentence
from tuner.export.unreal import unreal_sentence
from tuner.types import Fingerprint, Trial
from tuner.types.settings import flag


def export_command(trial: Trial, fingerprint: Fingerprint, host: str, port: int, verdict: Verdict | None = None) -> str:
    address = ("--host", host, "--port", str(port))
    said = [unreal_sentence(fingerprint), verdict_sentence(trial, verdict), *cautions(trial)]
    head = "".join(f"# {sentence}\n" for sentence in said if sentence)
    if fingerprint.unreal:
        flags = (part for name, value in trial.command.settings.items() for part in flag(name, value))
        head += f"# on the card: {shlex.join(('vllm', 'serve', trial.command.model, *flags, *address))}\n"
    words = [*environment_words(dict(trial.command.environment)), shlex.join((*trial.command.argv, *address))]
    return head + " ".join(words) + "\n"
