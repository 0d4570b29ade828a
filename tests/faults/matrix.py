"""The names of all faults that are to be survived, and what two of them need: a small disk, a stale server."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waiting import answers, free_port, wait_for

from faults.lab import LOAD, LOADING, STOP
from faults.suicide import MOMENTS

SERVER = ("guard", "API server", "EngineCore", "worker")
WHEN = {LOADING: "while it loads", LOAD: "under load", STOP: "when it is stopped"}
OTHERS = {
    "kill -9 of fork server while it imports vLLM",
    "stale server on the port",
    "stale servers on both ports",
    "hung server",
    "kill -9 of a load worker under load",
    "trial timeout",
    "start timeout",
    "database locked for 5 s",
    "disk full for the log",
    "model folder deleted between trials",
    "every start dies, the defaults' too",
}
#: What tests/test_faults.py does.
FAULTS = OTHERS | {f"kill -9 of {victim} {when}" for victim in (*SERVER, "fork server") for when in WHEN.values()}
FAULTS |= {f"kill -9 of tuner {moment}" for moment in MOMENTS}
#: What other files do, to a real vLLM or to real processes.
COVERED = {
    "server ignores SIGTERM": "launch/test_process.py::test_a_process_that_ignores_sigterm_is_killed_with_its_children",
    "out of memory at load": "study/test_loop.py::test_each_failure_has_its_kind_and_its_sentence",
    "KV cache too small": "study/test_loop.py::test_each_failure_has_its_kind_and_its_sentence",
    "argument that vLLM refuses": "study/test_loop.py::test_what_vllm_refuses_is_a_trial_without_a_launch_and_does_not_count",
    "wrong quantization": "launch/test_fork_server.py::test_vllm_resolves_defaults_and_refuses_with_its_own_sentence",
    "server forks without end": "launch/test_guard.py::test_nothing_survives_the_end_of_tuner",
    "server makes sessions of its own": "launch/test_guard.py::test_nothing_survives_a_stop",
    "wall clock is set": "launch/test_guard.py::test_a_process_stays_itself_when_the_wall_clock_is_set",
    "disk full for the database": "study/test_disk.py::test_a_full_disk_is_one_sentence_wherever_it_strikes",
    "disk full for what is printed": "study/test_disk.py::test_what_cannot_be_printed_or_exported_is_one_sentence",
    "database locked for good": "study/test_disk.py::test_a_locked_database_is_one_sentence_and_what_was_measured_is_kept",
    "tuners of two containers on one study": "study/test_lease.py::test_two_containers_do_not_hold_one_study",
    "tuner paused and replaced": "study/test_lease.py::test_who_was_taken_for_dead_and_lives_is_fenced_off_and_ends",
    "Optuna's study deleted": "propose/test_read_only_dashboard.py::test_a_study_that_was_deleted_in_optuna_goes_on_from_ours",
    "two tuners on one study": "record/test_store.py::test_a_study_is_run_by_one_tuner_at_a_time",
}


@contextmanager
def stale_server() -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Somebody else's, which says that it is healthy; and its port."""
    port = free_port()
    program = (
        "from http.server import *\n"
        "class Healthy(BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_response(200); self.end_headers()\n"
        f"HTTPServer(('127.0.0.1', {port}), Healthy).serve_forever()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(lambda: answers(f"http://127.0.0.1:{port}/health"))
            yield server, port
        finally:
            server.kill()


@contextmanager
def small_disk(folder: Path) -> Iterator[str | None]:
    """Of 8 KiB, which a server's log does not fit on, as `folder`; or why it cannot be had."""
    command = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        yield mounted.stderr.strip() or None
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", str(folder)], check=True)
