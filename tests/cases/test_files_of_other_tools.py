"""Files that are another tool's are told by what they are, not by the first thing that is missing in them."""

from pathlib import Path

import pytest

from tuner.bench.server_spec import source_of
from tuner.errors import UsageError
from tuner.study.options import Options

COMPOSE = "services:\n  llm:\n    image: some/server:1\n"
MANIFEST = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: llm}\n"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (COMPOSE, "is a compose file (key services)"),
        ("name: stack\n" + COMPOSE, "is a compose file (key services)"),
        (MANIFEST, "is a Kubernetes manifest (key apiVersion)"),
        ("kind: Pod\n", "is a Kubernetes manifest (key kind)"),
        ("kind: ConfigMap\n---\nkind: Service\n", "several YAML documents"),
        ("a: 1\n---\nb: 2\n---\nc: 3\n", "several YAML documents"),
        ("servingEngineSpec: {}\n", "is a Helm values file"),
        ("gpu: t4\ntrials: 3\n", "is a config of `tuner optimize`"),
        ("gpu: {names: []}\nparameters: {}\n", "is a search space of tuner"),
        ("users: 4\ninput_tokens: 3\n", "is a workload of tuner"),
    ],
)
@pytest.mark.parametrize("model", [None, "some/model"])
def test_it_is_no_file_for_vllm(text: str, what: str, model: str | None, tmp_path: Path) -> None:
    path = tmp_path / "input.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        source_of(str(path), Options(), model, ())
    assert what in str(caught.value)
    assert "`vllm serve --config`" in str(caught.value)
    assert str(path) in str(caught.value)
