"""The formats of an export, by their names."""

from collections.abc import Callable, Mapping

from tuner.export.command import export_command
from tuner.export.record_json import export_json
from tuner.export.vllm_yaml import export_yaml
from tuner.types import Fingerprint, Trial

Exporter = Callable[[Trial, Fingerprint, str, int], str]
#: Format -> (trial, fingerprint, host, port) -> text.
EXPORTERS: Mapping[str, Exporter] = {"command": export_command, "yaml": export_yaml, "json": export_json}
