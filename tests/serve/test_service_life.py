"""Whole simulated studies through a real service: to their end, paused, killed, shared, and on PostgreSQL."""

import http.client
import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from serving_studies import Service, events, serving, start
from waiting import wait_for

from tuner.record.store import Store

#: Of a study; a trial has no message.
ENDED = b'"state":"finished","message"'


def children(study: str) -> list[psutil.Process]:
    """The processes that run a study, whoever started them."""
    found = []
    for process in psutil.process_iter():
        try:
            if f"--study={study}" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def watch(service: Service, name: str, last_id: str | None = None) -> tuple[threading.Thread, bytearray]:
    """Read the events of a study until the service ends them, or the study has ended."""
    heard = bytearray()

    def read() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=300)
        connection.request(
            "GET", f"/api/v1/studies/{name}/events", headers={"Last-Event-ID": last_id} if last_id else {}
        )
        answer = connection.getresponse()
        assert answer.getheader("Content-Type") == "text/event-stream"
        while data := answer.read1(65536):
            heard.extend(data)
            if ENDED in data:
                break
        connection.close()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread, heard


def test_a_study_goes_through_the_api_to_its_verdict(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        asked = service.create("a", trials=3, verify=2, slo=["ttft_p99=60s"])
        assert (asked["state"], asked["trials_wanted"], asked["unreal"]) in {
            ("queued", 3, "SIMULATED"),
            ("running", 3, "SIMULATED"),
        }
        thread, heard = watch(service, "a")
        assert service.create("b")["state"] == "queued"
        assert service.post("studies", {"gpu": "t4", "engine": "sim", "study": "a"}, 409)["error"].startswith(
            "there is a study 'a'"
        )
        service.wait("a", "running")
        assert service.state("b") == "queued"  # one a card
        service.wait("a", "finished")
        thread.join(60)
        found = service.get("studies/a")
        assert found["trials_finished"] == 3
        assert found["best"]["metric"] == "output_throughput"
        assert found["best"]["unit"] == "tok/s"
        assert found["verdict"]["answer"] in ("better", "not told apart", "worse", "nothing better", "not verified")
        trials = service.get("studies/a/trials")["trials"]
        assert [trial["trial"] for trial in trials][:3] == [0, 1, 2]
        assert (trials[0]["is_default"], trials[0]["settings"]) == (True, {})
        assert trials[0]["metrics"]["output_throughput"] > 0
        assert "serve" in service.get("studies/a/best")["command"]
        status, headers, text = service.ask("GET", "studies/a/export?format=yaml&trial=0&port=9000")
        assert (status, headers["content-disposition"]) == (200, 'attachment; filename="yaml-trial-0.yaml"')
        assert b"SIMULATED" in text
        assert b"9000" in text
        told = events(bytes(heard))
        assert {name for name, _, _ in told} >= {"study", "state", "trial"}
        assert [data["trial"] for name, _, data in told if name == "trial"] == [0, 1, 2]
        assert told[-1][2]["state"] == "finished"
        assert all("phase" in data for name, _, data in told if name == "state")
        _, again = watch(service, "a", next(id for name, id, data in told if name == "trial" and data["trial"] == 0))
        wait_for(lambda: ENDED in again, 60)
        assert [data["trial"] for name, _, data in events(bytes(again)) if name == "trial"] == [1, 2]
        service.wait("b", "finished")
        assert service.get("studies")["studies"][0]["name"] == "b"
        _, _, metrics = service.ask("GET", "/metrics")
        assert b'tuner_jobs{state="finished"} 2.0' in metrics
        assert b'route="/api/v1/studies/{name}"' in metrics


def test_pause_resume_and_cancel_keep_what_is_finished(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        service.create("a", trials=200)
        service.create("waits")
        assert service.post("studies/waits/pause")["state"] == "paused"
        wait_for(lambda: service.get("studies/a")["trials_finished"] >= 1, 240)
        assert service.post("studies/a/pause")["message"].startswith("it pauses")
        service.wait("a", "paused")
        kept = service.get("studies/a")["trials_finished"]
        assert kept >= 1
        assert children("a") == []
        service.post("studies/a/pause", status=409)
        assert service.post("studies/a/resume")["state"] in ("queued", "running")
        wait_for(lambda: service.get("studies/a")["trials_finished"] > kept, 240)
        service.post("studies/a/cancel")
        service.wait("a", "cancelled")
        assert service.get("studies/a")["trials_finished"] > kept
        assert (
            "only one that is paused or failed can be resumed" in service.post("studies/a/resume", status=409)["error"]
        )
        assert service.post("studies/waits/cancel")["state"] == "cancelled"
        service.create("waits")  # nothing of it had begun: the name is free
        service.wait("waits", "finished")
        assert service.create("c")["name"] == "c"
        service.create("c2")
        assert service.post("studies/c2/cancel")["state"] == "cancelled"


def test_a_service_that_is_killed_leaves_its_study_to_the_next_one(tmp_path: Path) -> None:
    """The process lives on and is found: no second one is started."""
    storage = f"sqlite:///{tmp_path / 'x.db'}"
    first = start(tmp_path, storage)
    first.create("a", trials=8, stop="never")  # goes on for longer than a service takes to start
    wait_for(lambda: first.get("studies/a")["trials_finished"] >= 1, 240)
    (child,) = children("a")
    first.process.kill()
    first.process.wait()
    assert child.is_running()
    with serving(tmp_path, storage) as second:
        wait_for(lambda: "taken over from a service that is gone" in second.said, 60)
        assert [process.pid for process in children("a")] == [child.pid]
        second.wait("a", "finished")
        assert second.get("studies/a")["trials_finished"] == 8
        assert second.said.count("begins, asked for by") == 0


def test_a_study_that_is_killed_with_its_service_is_begun_again(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'x.db'}"
    first = start(tmp_path, storage)
    first.create("a", trials=3)
    wait_for(lambda: first.get("studies/a")["trials_finished"] >= 1, 240)
    (child,) = children("a")
    first.process.kill()
    child.kill()
    first.process.wait()
    with serving(tmp_path, storage) as second:
        second.wait("a", "finished")
        assert "its process was killed, and it goes on" in second.said
        assert second.get("studies/a")["trials_finished"] == 3


def test_a_service_that_is_ended_queues_what_runs_and_goes_on_later(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'x.db'}"
    first = start(tmp_path, storage)
    first.create("a", trials=8, stop="never")
    wait_for(lambda: first.get("studies/a")["trials_finished"] >= 1, 240)
    thread, heard = watch(first, "a")
    wait_for(lambda: b"event: study" in heard, 60)
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(60) == 0
    thread.join(60)
    assert not thread.is_alive()
    wait_for(lambda: children("a") == [], 60)
    assert "study 'a' is queued: the service was stopped" in first.said
    with serving(tmp_path, storage) as second:
        second.wait("a", "finished")
        assert second.get("studies/a")["trials_finished"] == 8


def test_two_services_of_one_database_run_a_study_once(tmp_path: Path) -> None:
    """The second is told to pause what the first one runs, and goes on when that one is killed."""
    storage = f"sqlite:///{tmp_path / 'x.db'}"
    with serving(tmp_path, storage) as first, serving(tmp_path, storage) as second:
        second.create("a", trials=200)
        wait_for(lambda: bool(children("a")), 60)
        assert len(children("a")) == 1
        runs, other = (first, second) if "begins" in first.said else (second, first)
        wait_for(lambda: other.get("studies/a")["trials_finished"] >= 1, 240)
        other.post("studies/a/pause")
        other.wait("a", "paused")
        runs.process.kill()
        runs.process.wait()
        other.post("studies/a/resume")
        wait_for(lambda: len(children("a")) == 1, 60)
        other.post("studies/a/cancel")
        other.wait("a", "cancelled")


def test_a_study_that_cannot_run_fails_with_its_sentence_and_can_be_asked_for_again(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        service.create("a", slo=["itl_p99=1s"])
        service.wait("a", "failed")
        assert "--slo itl: simulated tokens come in groups" in service.get("studies/a")["message"]
        service.create("a")
        service.wait("a", "finished")


def test_a_study_whose_process_keeps_dying_is_given_up(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        service.create("a", trials=200)
        killed: set[int] = set()

        def is_failed() -> bool:
            for child in children("a"):
                if child.pid not in killed:
                    killed.add(child.pid)
                    child.kill()
            return service.state("a") == "failed"

        wait_for(is_failed, 120)
        assert "killed 3 times in a row" in service.get("studies/a")["message"]
        assert len(killed) == 3


@pytest.mark.postgres
def test_a_study_on_postgresql_whose_password_no_process_shows(tmp_path: Path, postgres_url: str) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNER_")}
    assert clean
    Store.open(postgres_url).close()
    with serving(tmp_path, postgres_url) as service:
        service.create("a")
        wait_for(lambda: bool(children("a")), 60)
        assert not any("postgresql:" in word for child in children("a") for word in child.cmdline())
        service.wait("a", "finished")
        assert service.get("studies/a")["trials_finished"] == 2
        assert "p%40ss" not in service.said
        began = time.monotonic()
        service.get("studies/a/trials")
        assert time.monotonic() < began + 30
