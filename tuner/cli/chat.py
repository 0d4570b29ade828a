"""`tuner chat`: what is wrong with a server that runs, as one user sees it."""

from pathlib import Path

import typer
from rich.console import Console

from tuner import interrupts
from tuner.bench.chat_faults import Fault, Severity, Speed
from tuner.bench.chatting import PROMPT, Checked, check, checked_json
from tuner.cli.console import check_writable, errors, plain, results, say, write_json
from tuner.cli.keys import key_of
from tuner.cli.tables import prose
from tuner.errors import UsageError
from tuner.interrupts import heed_signals, interrupted_code
from tuner.load.reply import Reply

#: Of an answer that is shown.
_SHOWN = 160
_MOST_TOKENS = 100_000


def run(
    url: str,
    *,
    model: str | None,
    prompt: str | None,
    max_tokens: int,
    api_key_env: str | None,
    send_key: bool,
    json: str | None,
) -> None:
    """Check, and show what was found."""
    heed_signals()
    if not 1 <= max_tokens <= _MOST_TOKENS:
        raise UsageError(f"--max-tokens is {max_tokens} and must be 1 to {_MOST_TOKENS:,}")
    if prompt is not None and not prompt.strip():
        raise UsageError("--prompt is empty: say what to ask, or leave it out")
    if json is not None and json != "-":
        check_writable("--json", Path(json))
    key = key_of(url, api_key_env, send_key=send_key)
    console = errors if json == "-" else results
    try:
        checked = interrupts.run(check(url, model=model, key=key, prompt=prompt or PROMPT, max_tokens=max_tokens))
    except KeyboardInterrupt:
        errors.print("Interrupted.")
        raise typer.Exit(interrupted_code()) from None
    _print(console, checked, url)
    write_json(json, checked_json(checked) + "\n")
    if not checked.works:
        raise typer.Exit(1)


def _print(console: Console, checked: Checked, url: str) -> None:
    if (target := checked.target) is not None:
        advice = f" ({checked.advice.family}: {checked.advice.source})" if checked.advice else ""
        say(console, f"{target.base_url}, model {target.model}{advice}")
        for name, reply in (("plain", checked.plain), ("streamed", checked.streamed)):
            if reply is not None:
                say(console, f"{name}: {_said(reply)}")
        if checked.speed is not None and (text := _speed(checked.speed)):
            say(console, text)
    for fault in checked.faults:
        prose(console, fault_words(fault), indent="  ")
    warned = sum(fault.severity is Severity.WARNING for fault in checked.faults)
    if not checked.works:
        say(console, f"{plain(url)} does not work as it is to.")
    else:
        say(console, f"It works{_warnings(warned)}.")


def _warnings(count: int) -> str:
    return f", with {count} warning{'s' if count > 1 else ''}" if count else ""


def fault_words(fault: Fault) -> str:
    """A finding in one line."""
    remedy = f": {fault.remedy}" if fault.remedy else ""
    return plain(f"{fault.severity.value}: {fault.kind.value}: {fault.what}{remedy}")


def _said(reply: Reply) -> str:
    text = " ".join(reply.said.split())
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    counts = f"{reply.output_tokens} tokens" if reply.output_tokens is not None else "tokens not counted"
    return f"{counts}, finish_reason {reply.finish_reason or 'none'}: {shown!r}"


def _speed(found: Speed) -> str:
    parts = [
        f"first token after {1000 * found.ttft_s:.0f} ms" if found.ttft_s is not None else "",
        f"then {found.tokens_per_s:.1f} tokens/s" if found.tokens_per_s is not None else "",
        f"the plain answer after {found.plain_s:.2f} s" if found.plain_s is not None else "",
    ]
    told = ", ".join(filter(None, parts))
    return f"One user, one answer: {told}. How fast it is under load, `tuner bench` measures." if told else ""
