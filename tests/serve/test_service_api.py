"""What strangers send to the API, each answered with the right status and one sentence; and what the answers look like."""

import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from record_samples import STUDY, a_trial
from serving_studies import MEANT, QUICK, Service, serving

from tuner.record.proposals import Difference, Drafted, Proposals
from tuner.record.queue import Queue
from tuner.record.store import Store
from tuner.retune.proposals import step

CODE = "t4; rm -rf /", "$(id)", "../../etc/passwd", "a\x00b", "t4\n--engine=vllm", "--storage=x", "`id`", "é"

WRONG = "", "Bearer ", "Bearer x", "Basic !!", "Basic eDp5", "Bearer é"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """With one study that was begun elsewhere, and one that was asked for with what is not allowed any more."""
    folder = tmp_path_factory.mktemp("service")
    store = Store.open(f"sqlite:///{folder / 'x.db'}")
    store.create_or_get_study(STUDY)
    for number in range(3):
        store.finish("a study", a_trial(number))
    drafted = Drafted(
        urls=("http://10.0.0.1:8000",),
        study_before="a study",
        study_after="busy",
        drift="Prompts are longer.",
        workload={},
        workload_changes=(Difference(name="users", before="3", after="4"),),
    )
    for _ in range(2):
        Proposals(store).draft(drafted, step(None, "tuner", "drafted", "drift"))
    Queue(store).add(
        "busy", {**QUICK, "study": "busy", "model": "m", "trials": 1000}, "sim t4", "ann", STUDY.created_at
    )
    store.close()
    with serving(folder) as found:
        yield found


def error(service: Service, method: str, path: str, body: object = None, **headers: str) -> tuple[int, str]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    status, told, data = service.ask(method, path, body, given)
    assert told["content-type"].startswith("application/json"), data
    found = json.loads(data)
    assert set(found) == {"error"}, found
    assert "Traceback" not in found["error"]
    assert str(service.folder) not in found["error"]
    return status, found["error"]


def test_an_unknown_study_is_404_and_a_near_one_is_named(service: Service) -> None:
    assert error(service, "GET", "studies/a%20stud") == (404, "there is no study 'a stud' (did you mean 'a study'?)")
    for path in ("trials", "best", "export", "report", "events"):
        assert error(service, "GET", f"studies/nope/{path}")[0] == 404
    for verb in ("pause", "resume", "cancel"):
        assert error(service, "POST", f"studies/nope/{verb}", {})[0] == 404


@pytest.mark.parametrize("path", ["..%2f..%2fetc%2fpasswd", "%00", "%ff%fe", "%2e%2e", "a%0d%0ab", "x" * 3000])
def test_path_tricks_are_unknown_studies(service: Service, path: str) -> None:
    assert error(service, "GET", f"studies/{path}")[0] in (400, 404)


def test_a_body_that_is_no_json_is_400(service: Service) -> None:
    for body in (b"{", b"\xff", b"[" * 5000, b"", b'{"gpu":NaN}', b'{"gpu":"\\ud800"}'):
        assert error(service, "POST", "studies", body)[0] in (400, 422)
    assert error(service, "POST", "studies", b"{")[0] == 400


def test_an_unknown_field_is_422_with_its_name(service: Service) -> None:
    assert error(service, "POST", "studies", {**QUICK, "trails": 3}) == (
        422,
        "trails: there is no such field (did you mean 'trials'?)",
    )
    assert error(service, "GET", "studies?limt=3") == (422, "limt: there is no such field (did you mean 'limit'?)")
    assert error(service, "GET", "studies?limit=3&limit=4")[0] == 422
    assert error(service, "POST", "studies", {**QUICK, "storage": "sqlite:////tmp/x"})[0] == 422


def test_what_is_too_large_is_413(service: Service) -> None:
    assert error(service, "POST", "studies", b'{"gpu":"' + b"x" * 70_000 + b'"}')[0] == 413
    assert error(service, "POST", "studies", {**QUICK, "slo": ["ttft_p99=1s"] * 17})[0] == 422


def test_methods_and_content_types(service: Service) -> None:
    status, headers, _ = service.ask("DELETE", "studies", None, MEANT)
    assert (status, sorted(headers["allow"].split(","))) == (405, ["GET", "HEAD", "POST"])
    status, headers, _ = service.ask("GET", "studies/busy/pause")
    assert (status, headers["allow"]) == (405, "POST")
    assert error(service, "POST", "studies", QUICK, Content_Type="text/plain")[0] == 415
    assert error(service, "POST", "studies", QUICK, Content_Type="application/x-www-form-urlencoded")[0] == 415
    assert error(service, "POST", "studies/busy/pause", b"", Content_Type="text/plain")[0] == 415
    assert error(service, "POST", "studies/busy/pause", {"x": 1})[0] == 422
    assert error(service, "POST", "/api/studies", {})[0] == 405  # the dashboard only reads


def test_a_page_of_another_site_changes_nothing(service: Service) -> None:
    plain = {"Content-Type": "application/json", "X-Tuner": ""}
    for origin in (None, "http://evil.example", "null", f"http://127.0.0.1:{service.port + 1}"):
        given = {**plain, **({"Origin": origin} if origin else {})}
        status, _, data = service.ask("POST", "studies", QUICK, given)
        assert (status, b"X-Tuner: 1" in data) == (403, True)
    status, _, _ = service.ask("POST", "studies/nope/pause", {}, {**plain, "Origin": service.url})
    assert status == 404
    foreign = {**plain, "X-Tuner": "1", "Origin": "http://evil.example"}
    assert service.ask("POST", "studies", QUICK, foreign)[0] == 403


def test_a_body_that_is_not_encoded_as_it_says_is_400(service: Service) -> None:
    status, sentence = error(service, "POST", "studies", b"not zipped", Content_Encoding="gzip")
    assert (status, "Content-Encoding" in sentence) == (400, True)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "",
        "localhost.evil",
        "[::1",
        "127.0.0.1:1.evil.example",
        "localhost:x",
    ],
)
def test_a_name_that_resolves_to_this_address_is_421(service: Service, host: str) -> None:
    for path in ("/", "/api/v1/studies", "/dashboard/", "/metrics", "/api/v1/health"):
        assert service.ask("GET", path, None, {"Host": host})[0] == 421
    assert service.ask("GET", "studies", None, {"Host": "localhost:1"})[0] == 200
    assert service.ask("GET", "studies", None, {"Host": "[::1]:1"})[0] == 200


@pytest.mark.parametrize("text", CODE)
@pytest.mark.parametrize(
    "field", ["model", "gpu", "workload", "study", "sampler", "objective", "engine_arg", "slo", "engine"]
)
def test_text_for_a_shell_or_a_path_is_refused(service: Service, field: str, text: str) -> None:
    value: object = [text] if field in ("objective", "engine_arg", "slo") else text
    assert error(service, "POST", "studies", {**QUICK, field: value})[0] == 422


def test_a_request_names_only_what_is_allowed(service: Service) -> None:
    for field, value in (("model", "/models/mine"), ("model", "org/other"), ("workload", "./x.yaml"), ("gpu", "auto")):
        assert error(service, "POST", "studies", {**QUICK, field: value})[0] == 422
    assert error(service, "POST", "studies", {**QUICK, "engine": "replay"})[0] == 422
    assert error(service, "POST", "studies", {**QUICK, "trials": 1001}) == (
        422,
        "trials is 1001, and 1000 are the most here",
    )
    assert (
        error(service, "POST", "studies", {**QUICK, "hf_token": "PATH"})[1]
        == "hf_token: PATH is not allowed here: none is allowed here"
    )
    assert error(service, "POST", "studies", {**QUICK, "engine_arg": ["load_format=dummy"]})[1].startswith(
        "engine_arg: load_format is not allowed"
    )
    assert error(service, "POST", "studies", {**QUICK, "trials": "3"})[0] == 422
    assert error(service, "POST", "studies", {**QUICK, "gpu": "cpu"})[0] == 422


def test_a_study_of_a_terminal_is_shown_and_not_stopped(service: Service) -> None:
    found = service.get("studies/a%20study")
    assert (found["state"], found["trials_finished"], found["trials_wanted"], found["model"]) == (
        "idle",
        3,
        None,
        "some/model",
    )
    assert found["verdict"] is not None
    assert error(service, "POST", "studies/a%20study/pause", {})[0] == 409
    assert error(service, "GET", "studies/a%20study/export?format=nope")[0] == 422
    assert error(service, "GET", "studies/a%20study/export?trial=9")[0] == 404
    for format, kind in (("html", "text/html"), ("markdown", "text/markdown"), ("json", "application/json")):
        status, headers, text = service.ask("GET", f"studies/a%20study/report?format={format}")
        assert (status, headers["content-type"]) == (200, f"{kind}; charset=utf-8")
        assert b"a study" in text
        assert ("sandbox" in headers["content-security-policy"]) == (format == "html")


def test_proposals_are_answered_by_a_person_with_a_reason(service: Service) -> None:
    page = service.get("proposals?limit=1")
    rest = service.get(f"proposals?after={page['next']}")
    assert [one["id"] for one in (*page["proposals"], *rest["proposals"])] == [2, 1]
    found = service.get("proposals/1")
    assert (found["state"], found["workload_changes"]) == ("tuning", [{"name": "users", "before": "3", "after": "4"}])
    assert error(service, "POST", "proposals/1/approve", {"by": "ann", "why": "yes"})[0] == 409
    assert error(service, "POST", "proposals/1/reject", {"by": "ann"}) == (422, "why: field required")
    assert error(service, "POST", "proposals/1/reject", {"by": " ", "why": "no"})[0] == 422
    found = service.post("proposals/1/reject", {"by": "ann", "why": "not now"})
    assert (found["state"], found["log"][-1]["who"], found["log"][-1]["why"]) == ("rejected", "ann", "not now")
    for id in ("3", "0", "x", "-1", "1e3", "9" * 30, "%00"):
        assert error(service, "GET", f"proposals/{id}")[0] == 404
        assert error(service, "POST", f"proposals/{id}/reject", {"by": "ann", "why": "no"})[0] == 404


def test_pages_of_a_list_follow_each_other(service: Service) -> None:
    found = service.get("studies/a%20study/trials?limit=2")
    assert [trial["trial"] for trial in found["trials"]] == [0, 1]
    rest = service.get(f"studies/a%20study/trials?limit=2&after={found['next']}")
    assert ([trial["trial"] for trial in rest["trials"]], rest["next"]) == ([2], None)
    first = service.get("studies?limit=1")
    assert service.get(f"studies?limit=1&after={first['next']}")["studies"][0]["name"] != first["studies"][0]["name"]
    for token in ("x", "AAAA", "MA", "Li4v", "LTE", "5" * 400):
        for path in ("studies", "studies/a%20study/trials"):
            status, _, _ = service.ask("GET", f"{path}?after={token}")
            assert status in (200, 422)
    assert error(service, "GET", "studies?after=../x")[0] == 422
    assert error(service, "GET", "studies?limit=0")[0] == 422
    assert error(service, "GET", "studies?limit=99999")[0] == 422


def test_every_answer_of_ours_has_its_headers(service: Service) -> None:
    for path in ("studies", "/", "/page/main.js", "/nope/../x", "/api/v1/nope", "/metrics", "openapi.json"):
        _, headers, _ = service.ask("GET", path)
        if "dashboard" not in path and path != "/nope/../x":
            assert "frame-ancestors 'none'" in headers["content-security-policy"], path
            assert headers["x-content-type-options"] == "nosniff"
    status, headers, page = service.ask("GET", "/dashboard/")
    assert (status, headers["content-type"].split(";")[0]) == (200, "text/html")
    assert b"what is verified" in page
    assert service.ask("GET", "/api/studies")[0] == 200


def test_the_document_is_a_valid_one_and_names_what_there_is(service: Service) -> None:
    document = service.get("openapi.json")
    assert document["openapi"] == "3.1.0"
    validators = import_module("jsonschema.validators")
    for schema in document["components"]["schemas"].values():
        validators.Draft202012Validator.check_schema(schema)
    assert {"/api/v1/studies/{name}/events", "/metrics", "/api/v1/health"} <= set(document["paths"])
    references = re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document))
    assert set(references) <= set(document["components"]["schemas"])


def test_health_options_and_metrics(service: Service) -> None:
    assert service.get("health")["status"] == "ok"
    options = service.get("options")
    assert {gpu["name"]: gpu["gpu"] for gpu in options["gpus"]}["t4"] == "Tesla T4"
    assert {"chat", "multi-turn"} <= set(options["workloads"])
    assert options["engines"] == ["vllm", "sim"]
    service.ask("GET", "/made/up/by/a/client")
    _, headers, text = service.ask("GET", "/metrics")
    assert headers["content-type"].startswith("text/plain")
    assert b"made" not in text
    for name in (
        b"jobs{",
        b"requests_total{",
        b"request_seconds_bucket{",
        b"sse_clients ",
        b"launches ",
    ):
        assert name in text


def test_a_thousand_requests_at_once_are_all_answered(service: Service) -> None:
    seen: Counter[int] = Counter()
    paths = ("studies", "studies/a%20study", "studies/a%20study/trials", "options", "health")

    def ask(number: int) -> None:
        for one in range(20):
            seen[service.ask("GET", paths[(number + one) % len(paths)])[0]] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {200: 1000}
    sockets = [socket.create_connection(("127.0.0.1", service.port), timeout=60) for _ in range(300)]
    for one in sockets:
        one.sendall(b"GET /api/v1/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    for one in sockets:
        assert one.recv(64).startswith(b"HTTP/1.1 200")
        one.close()


def test_what_is_no_http_does_no_harm(service: Service) -> None:
    for data in (b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET  HTTP/1.1\r\n\r\n", b"A" * 20_000):
        with socket.create_connection(("127.0.0.1", service.port), timeout=60) as one:
            one.sendall(data)
            assert not one.recv(64).startswith((b"HTTP/1.1 5", b"HTTP/1.0 5"))
    assert service.get("health")["status"] == "ok"


def test_a_token_is_asked_for_and_never_shown(tmp_path: Path) -> None:
    token = "s3cret-token-of-a-team"
    file = tmp_path / "token"
    file.write_text(token + "\n")
    file.chmod(0o600)
    with serving(tmp_path, None, "--token-file", str(file), "--hostname", "tuner.example", token=token) as service:
        assert service.get("studies")["studies"] == []
        for path in ("studies", "/metrics", "/dashboard/", "options", "openapi.json"):
            for wrong in (
                "",
                "Bearer ",
                "Bearer x",
                f"Bearer {token}x",
                "Basic !!",
                "Basic eDp5",
                f"Token {token}",
                "Bearer é",
            ):
                assert service.ask("GET", path, None, {"Authorization": wrong.encode().decode("latin-1")})[0] == 401
        _, headers, _ = service.ask("GET", "studies", None, {"Authorization": ""})
        assert headers["www-authenticate"].startswith("Basic")
        basic = "Basic OnMzY3JldC10b2tlbi1vZi1hLXRlYW0="
        assert service.ask("GET", "/dashboard/", None, {"Authorization": basic})[0] == 200
        for path in ("/", "/page/main.js", "health"):
            assert service.ask("GET", path, None, {"Authorization": ""})[0] == 200
        assert service.ask("GET", "studies", None, {"Host": "tuner.example"})[0] == 200
        assert service.ask("GET", "/dashboard/", None, {"Host": "tuner.example"})[0] == 200
        assert token not in service.said
