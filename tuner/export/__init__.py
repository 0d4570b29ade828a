"""A finished trial in, text to deploy out. Pure: one small file per format."""

from collections.abc import Callable, Mapping

from tuner.export.command import export_command
from tuner.export.record_json import export_json
from tuner.export.vllm_yaml import export_yaml
from tuner.types import Fingerprint, Trial

Exporter = Callable[[Trial, Fingerprint, str, int], str]
#: Format -> (trial, fingerprint, host, port) -> text.
EXPORTERS: Mapping[str, Exporter] = {"command": export_command, "yaml": export_yaml, "json": export_json}
__all__ = ["EXPORTERS", "export_command", "export_json", "export_yaml"]
