"""What tuner prints on a terminal of 80 columns, of a real study on the CPU engine: made here, kept in docs/terminal.md.

`TUNER_VLLM_PYTHON=... python tests/terminal_captures.py FOLDER` prints the blocks anew.
"""

import os
import pty
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

_LOAD = ("--users", "4", "--warmup", "2", "--window", "4", "--max-window", "8", "--precision", "0.2")
_STUDY = ("optimize", "--gpu", "cpu", "--model", "demo", "--trials", "3", "--verify", "2", "--seed", "3", *_LOAD)
PORT = 8437
URL = f"http://127.0.0.1:{PORT}"
COMMANDS = {
    "ended": _STUDY,
    "trials": ("trials", "cpu-demo-chat"),
    "studies": ("studies",),
    "bench": ("bench", URL, "--slo", "ttft_p99=2s", *_LOAD),
    "compare": ("compare", URL, URL, "--repeats", "1", *_LOAD),
}


def environment(engine_python: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNER_")}
    return clean | {"TUNER_VLLM_PYTHON": str(engine_python), "COLUMNS": "80", "TERM": "xterm"}


def on_a_terminal(arguments: tuple[str, ...], folder: Path, env: dict[str, str]) -> str:
    """Stdout and stderr of tuner on a pseudo terminal, with what it overwrites, without control sequences."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "tuner", *arguments]
    process = subprocess.Popen(command, cwd=folder, env=env, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    seen = b""
    with suppress(OSError):
        while data := os.read(leader, 65536):
            seen += data
    os.close(leader)
    process.wait()
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode())


def captures(folder: Path, engine_python: Path) -> dict[str, str]:
    """By name; `folder` has the model `demo`. The server that is measured runs what was exported, without an environment."""
    env, found = environment(engine_python), {}
    raw = on_a_terminal(_STUDY, folder, env)
    live = re.findall(r"^trial \d+ \(\d/\d\) measuring .*/8 s, .* tok/s.*$", raw.replace("\r", "\n"), re.MULTILINE)
    found["running"] = live[len(live) // 2].strip()
    ended = lines(raw)
    found["ended"] = "\n".join(ended[ended.index(next(line for line in ended if line.startswith("vLLM's defaults"))) :])
    for name in ("trials", "studies"):
        found[name] = "\n".join(lines(on_a_terminal(COMMANDS[name], folder, env)))
    export = ("export", "cpu-demo-chat", "--format", "yaml", "--port", str(PORT), "--output", "vllm.yaml")
    said = on_a_terminal(export, folder, env)
    assert (folder / "vllm.yaml").exists(), said
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [engine_python.parent / "vllm", "serve", "--config", "vllm.yaml"],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_ready(server)
        for name in ("bench", "compare"):
            raw = on_a_terminal(COMMANDS[name], folder, env)
            last = lines(raw)
            first = next(i for i, line in enumerate(last) if line.startswith((f"{URL}, model", f"A: {URL}")))
            found[name] = "\n".join(last[first:])
    finally:
        server.terminate()
        server.wait(60)
    return found


def wait_until_ready(server: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        assert server.poll() is None, "the exported file does not start"
        with suppress(OSError), urllib.request.urlopen(f"{URL}/health", timeout=2):
            return
        time.sleep(0.5)
    raise AssertionError("not ready in five minutes")


def lines(raw: str) -> list[str]:
    """What stays on the screen, without what was overwritten."""
    return [line.split("\r")[-1].rstrip() for line in raw.replace("\r\n", "\n").split("\n")]


if __name__ == "__main__":
    for name, text in captures(Path(sys.argv[1]), Path(os.environ["TUNER_VLLM_PYTHON"])).items():
        sys.stdout.write(f"@@ {name}: tuner {shlex.join(COMMANDS.get(name, _STUDY))}\n{text}\n")
