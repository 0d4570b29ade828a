"""The key that goes to a server, by the options of a command, and what is said of one that does not go."""

import os
from collections.abc import Sequence

from tuner.bench.keys import checked, key_for, withheld
from tuner.cli.console import errors, say
from tuner.errors import UsageError


def say_withheld(urls: Sequence[str], *, send_key: bool) -> None:
    """Where a key is set and not sent, a server that wants one answers in a way that would not be understood."""
    for url in urls:
        if withheld(url, send=send_key):
            say(errors, f"OPENAI_API_KEY is not sent to {url}, in plain text to another machine: --send-key sends it")


def key_of(url: str, api_key_env: str | None, *, send_key: bool) -> str | None:
    """That of the variable which the user names, else as `tuner bench` has it. Raises UsageError for a variable without one."""
    if api_key_env is None:
        say_withheld([url], send_key=send_key)
        return key_for(url, send=send_key)
    if not (key := os.environ.get(api_key_env)):
        raise UsageError(f"--api-key-env {api_key_env}: there is no such variable in the environment, or it is empty")
    return checked(key, f"--api-key-env {api_key_env}: what it holds")
