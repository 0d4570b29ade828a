"""`tuner doctor --model --url`: models that are none, servers that are none, and what it writes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from commands import Done, tuner
from other_server import MODEL, OtherServer
from record_samples import COMMAND, MEASURED, NOW, STUDY, a_trial
from test_chat_faults import DAYS, answering, chunks, ends, good, refusal, stream, whole
from waiting import free_port

from tuner.bench.checklist_facts import studies_of
from tuner.launch.demo_model import make_demo_model
from tuner.measure.told import told
from tuner.record.rows import Verification
from tuner.record.store import Store

METRICS = (Path(__file__).parents[1] / "measure" / "vllm-0.32.0.metrics.txt").read_text()
LISTED = json.dumps({"data": [{"id": MODEL, "max_model_len": 2048}]}).encode()


def doctor(folder: Path, *arguments: str) -> Done:
    """Of a machine without vLLM, so that nothing is imported."""
    return tuner(folder, "doctor", "--vllm-python", str(folder / "none"), "--gpu", "cpu", *arguments)


def lines(done: Done) -> dict[str, dict[str, str]]:
    return {line["name"]: line for line in json.loads(done.stdout)["checklist"]}


def test_without_model_and_url_there_is_no_checklist(tmp_path: Path) -> None:
    done = tuner(tmp_path, "doctor", "--vllm-python", str(tmp_path / "none"), "--json", "-")
    assert json.loads(done.stdout)["checklist"] is None
    assert "Checklist" not in done.stderr
    assert done.returncode == 1


def test_of_a_model_alone_what_needs_a_server_is_not_known(tmp_path: Path) -> None:
    make_demo_model(tmp_path / "demo")
    done = doctor(tmp_path, "--model", "demo")
    assert "ok        stop conditions: eos_token_id 2, 0 (generation_config.json); not tried: no --url" in done.stdout
    assert "not known streaming: no --url" in done.stdout
    assert "warning   load-tested: no study of this model and card in tuner.db (there is no such file)" in done.stdout


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for model, said in (("no-such-model", "tuner does not know its shape"), ("./empty", "has no config.json")):
        done = doctor(tmp_path, "--model", model)
        assert (done.returncode, said in done.stderr) == (2, True), done
    many = doctor(tmp_path, "--model", "./empty", "--users", "0")
    assert "--users is 0 and must be at least 1" in many.stderr
    none = doctor(tmp_path, "--model", "./empty", "--workload", "nothing")
    assert "there is no workload 'nothing'" in none.stderr


def test_of_a_server_every_line_has_its_evidence(tmp_path: Path) -> None:
    make_demo_model(tmp_path / "demo")
    routes = {"/v1/models": ("200 OK", LISTED), "/metrics": ("200 OK", METRICS.encode())}
    with OtherServer(good(), head=b"", routes=routes) as server:
        done = doctor(tmp_path, "--model", "demo", "--url", server.url, "--users", "4", "--json", "-")
        asked = server.asked
    found = lines(done)
    assert done.returncode == 0, done.stderr  # no vLLM is here, but another machine was asked about
    assert "the server serves maker/model; what is predicted is of demo" in " ".join(done.stderr.split())
    assert found["streaming"]["level"] == found["stop conditions"]["level"] == "ok"
    assert found["max_model_len"]["evidence"].startswith("2,048 (as /v1/models says) holds the longest request, 672")
    assert "2,097,152 tokens (of /metrics), 4 requests of" in found["KV cache"]["evidence"]
    assert found["prefix caching"]["evidence"].startswith("on")
    assert found["address and key"]["evidence"].startswith("it listens on 127.0.0.1, for this machine alone")
    assert len(asked) == 2 + 4  # two conversations, and four answers at once


def test_another_engine_and_one_without_a_template(tmp_path: Path) -> None:
    refused = refusal("400 Bad Request", "default chat template is no longer allowed")
    with OtherServer(answering(refused, refused), head=b"") as server:
        done = doctor(tmp_path, "--url", server.url, "--json", "-")
    found = lines(done)
    assert done.returncode == 1
    assert found["streaming"]["level"] == "wrong"
    assert "chat template" in found["streaming"]["evidence"]
    assert (
        found["continuous batching"]["evidence"] == "the server has no vLLM /metrics, which tells how many requests run"
    )
    assert "tuner does not know its shape" in found["quantized weights"]["evidence"]
    held = [(0.2, b"".join(data for _, data in stream([*chunks(DAYS), *ends()])))]
    with OtherServer(answering(whole(DAYS), held), head=b"") as server:
        proxied = lines(doctor(tmp_path, "--url", server.url, "--json", "-"))
    assert proxied["streaming"]["level"] == "wrong"
    assert "came at once" in proxied["streaming"]["evidence"]


def test_servers_that_do_not_answer_are_one_sentence(tmp_path: Path) -> None:
    away = doctor(tmp_path, "--url", f"http://127.0.0.1:{free_port()}")
    assert (away.returncode, "Error: no server answers at" in away.stderr) == (1, True)
    page = {"/v1/models": ("200 OK", b"<html>nginx</html>")}
    asleep = {"/v1/models": ("200 OK", LISTED), "/is_sleeping": ("200 OK", b'{"is_sleeping": true}')}
    for routes, said in (
        (page, "a page for a browser"),
        (asleep, "the server sleeps"),
    ):
        with OtherServer(good(), head=b"", routes=routes) as server:
            done = doctor(tmp_path, "--url", server.url)
        assert (done.returncode, said in done.stderr) == (1, True), done
        assert "Checklist" not in done.stdout
    assert doctor(tmp_path, "--url", "nonsense://x").returncode == 2


def test_studies_of_the_model_and_card_are_found(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tuner.db'}"
    assert studies_of(url, STUDY.model, STUDY.gpu) == ([], f"{tmp_path / 'tuner.db'} (there is no such file)")
    store = Store.open(url)
    store.create_or_get_study(STUDY)
    assert [one.is_finished for one in (studies_of(url, STUDY.model, STUDY.gpu)[0] or [])] == [False]
    faster = replace(MEASURED, load=replace(MEASURED.load, output_throughput=60.0))
    store.finish(STUDY.name, a_trial(0))
    store.finish(STUDY.name, a_trial(1, faster))
    store.begin_contest(STUDY.name, [1], 3, NOW)
    for turn, trial in enumerate((0, 1, 1, 0, 0, 1)):
        outcome = replace(MEASURED, load=replace(MEASURED.load, output_throughput=44.0 + 16 * trial + 0.3 * turn))
        again = Verification(
            round=1 + turn // 2,
            role="finalist" if trial else "defaults",
            trial_number=trial,
            command=COMMAND,
            outcome=outcome,
            started_at=NOW,
            ended_at=NOW,
        )
        store.add_verification(STUDY.name, again)
    store.close()
    (found,) = studies_of(url, f"/elsewhere/{STUDY.model.rpartition('/')[2]}", STUDY.gpu)[0] or []
    assert (found.is_finished, found.answer, found.launches, found.ended_at) == (True, "better", 6, NOW)
    assert studies_of(url, STUDY.model, None)[0] == [found]
    assert studies_of(url, "another", STUDY.gpu)[0] == studies_of(url, STUDY.model, "another")[0] == []
    (tmp_path / "broken.db").write_text("this is no database, and longer than a header of one would be" * 9)
    nothing, why = studies_of(f"sqlite:///{tmp_path / 'broken.db'}", STUDY.model, STUDY.gpu)
    assert nothing is None
    assert "broken.db" in why


def test_what_a_page_of_metrics_tells() -> None:
    found = told(METRICS)
    assert (found.kv_cache_tokens, found.prefix_caching) == (2_097_152, True)
    assert told("# nothing\n").prefix_caching is None


@pytest.mark.engine
def test_of_a_real_vllm(vllm_url: str, demo_model: Path, tmp_path: Path) -> None:
    done = doctor(tmp_path, "--model", str(demo_model), "--url", vllm_url, "--users", "4", "--json", "-")
    found = lines(done)
    assert done.returncode == 0, done.stderr
    assert "requests that were sent at once ran together" in found["continuous batching"]["evidence"]
    assert found["streaming"]["level"] == "ok"
    assert found["max_model_len"]["evidence"].startswith("2,048 (as /v1/models says)")
    assert "(of /metrics)" in found["KV cache"]["evidence"]
    assert found["address and key"]["level"] == "ok"
    assert found["prefix caching"]["evidence"].startswith("on")
