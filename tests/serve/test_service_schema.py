"""Schemathesis asks the service whatever its OpenAPI document allows, and much that it does not: no answer is a 500, and each
is one that the document has."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from record_samples import STUDY, a_trial
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving_studies import Service, serving

from tuner.record.store import Store
from tuner.serve.openapi import document

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
schema = schemathesis.openapi.from_dict(document("0"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """What is asked for only waits: no study is allowed to begin."""
    folder = tmp_path_factory.mktemp("schema")
    store = Store.open(f"sqlite:///{folder / 'x.db'}")
    store.create_or_get_study(STUDY)
    store.finish("a study", a_trial(0))
    store.close()
    (folder / "allow.yaml").write_text("limits: {queued: 1}\nengines: [sim]\n")
    with serving(folder, None, "--allow", str(folder / "allow.yaml")) as found:
        yield found


# An event stream does not end by itself.
@schema.exclude(path_regex="/events$").parametrize()
@settings(
    max_examples=15,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_answer_is_a_500(case: schemathesis.Case[Any], service: Service) -> None:
    answer = case.call(base_url=service.url, timeout=60)
    case.validate_response(answer, checks=CHECKS)
    assert service.process.poll() is None
