"""The formats of an export, by their names."""

from collections.abc import Mapping
from typing import Protocol

from tuner.decide.verdict import Verdict
from tuner.export.command import export_command
from tuner.export.record_json import export_json
from tuner.export.vllm_yaml import export_yaml
from tuner.types import Fingerprint, Trial


class Exporter(Protocol):
    """A trial, where it was measured, and the user's address, to text; `verdict` is what the study says of it."""

    def __call__(
        self, trial: Trial, fingerprint: Fingerprint, host: str, port: int, verdict: Verdict | None = None
    ) -> str: ...


EXPORTERS: Mapping[str, Exporter] = {"command": export_command, "yaml": export_yaml, "json": export_json}
