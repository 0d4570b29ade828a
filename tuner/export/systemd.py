"""A trial in, a systemd unit out. Pure.

The unit counts as started once /health answers. systemd reads %x as a specifier, in ExecStart $NAME as a variable but in the
path of the program, and C escapes within quotation marks; %% and $$ are the letters.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath

from tuner.export.chosen import Chosen
from tuner.export.engines import server
from tuner.export.labels import dns_label
from tuner.export.provenance import head
from tuner.export.serving import (
    STOP_S,
    environment,
    is_folder,
    is_identifier,
    startup_s,
    through_env,
)

#: Waits for /health, as long as the server's process is there; systemd says when it has taken too long.
_READY = """\
import http.client, os, sys, time
while True:
    os.kill(int(sys.argv[3]), 0)
    try:
        connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=5)
        connection.request('GET', '/health')
        if connection.getresponse().status == 200:
            break
    except (OSError, http.client.HTTPException):
        pass
    time.sleep(1)
"""
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def export_systemd(chosen: Chosen) -> str:
    name = dns_label(chosen.study)
    variables = environment(chosen.trial.command)
    plain = {name: value for name, value in variables.items() if is_identifier(name) and _is_value(value)}
    odd = {name: value for name, value in variables.items() if name not in plain}
    host = _ANY.get(chosen.host, chosen.host)
    token = [] if is_folder(chosen.trial.command.model) else [f"EnvironmentFile=-/etc/default/{name}"]
    unit = [
        "[Unit]",
        f"Description=vLLM, {name}, tuned by tuner",
        "After=network-online.target",
        "Wants=network-online.target",
        "",
        "[Service]",
        "Type=exec",
        *token,
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in plain.items()),
        f"ExecStart={_start(chosen, odd)}",
        f"ExecStartPost={_quoted(_python(chosen))} -c {_quoted(_READY)} {_quoted(host)} {chosen.port} $MAINPID",
        f"TimeoutStartSec={startup_s(chosen)}",
        "KillSignal=SIGTERM",
        "KillMode=mixed",
        f"TimeoutStopSec={STOP_S}",
        "Restart=on-failure",
        "RestartSec=10",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return head(chosen, *_notes(chosen, name)) + "\n".join(unit) + "\n"


def _start(chosen: Chosen, odd: Mapping[str, str]) -> str:
    """The command line; `odd` are the variables that Environment= does not take."""
    address = ("--host", chosen.host, "--port", str(chosen.port))
    words = (*through_env(odd), *server(chosen, _program(chosen), address))
    return " ".join((_quoted(words[0]), *(_quoted(word).replace("$", "$$") for word in words[1:])))


def _notes(chosen: Chosen, name: str) -> list[str | None]:
    version = chosen.fingerprint.engine_version
    place = None if chosen.fingerprint.unreal else chosen.trial.command.argv[0]
    return [
        f"runs the vLLM of {place}, which was {version}: keep that version" if place else f"needs {version}",
        f"install: as /etc/systemd/system/{name}.service, with a line User=... below [Service]; "
        f"then: systemctl daemon-reload && systemctl enable --now {name}",
        None if is_folder(chosen.trial.command.model) else f"for a gated model: HF_TOKEN=... in /etc/default/{name}",
    ]


def _program(chosen: Chosen) -> tuple[str, ...]:
    """What is run with the arguments; for a server that was no vLLM, one that is on systemd's path."""
    argv = chosen.trial.command.argv
    if chosen.fingerprint.unreal or "serve" not in argv:
        return "vllm", "serve"
    return argv[: argv.index("serve") + 1]


def _python(chosen: Chosen) -> str:
    """Of the environment that vLLM is in."""
    first = PurePosixPath(_program(chosen)[0])
    if not first.is_absolute():
        return "/usr/bin/python3"
    return str(first if first.name.startswith("python") else first.with_name("python"))


def _is_value(text: str) -> bool:
    """Whether Environment= takes it: of the control characters only these two."""
    return all(letter >= " " and letter != "\x7f" for letter in text if letter not in "\t\n")


def _quoted(text: str) -> str:
    """One word of a unit, not yet safe from variables."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_specifiers("".join(map(_letter, escaped)))}"'


def _letter(letter: str) -> str:
    """A control character, as C would write it."""
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return named.get(letter) or (f"\\x{ord(letter):02x}" if letter < " " or letter == "\x7f" else letter)


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")
