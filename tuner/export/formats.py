"""The formats of an export, by their names."""

from collections.abc import Callable, Mapping

from tuner.export.chosen import Chosen
from tuner.export.command import export_command
from tuner.export.compose import export_compose
from tuner.export.helm import export_helm
from tuner.export.kserve import export_kserve
from tuner.export.kubernetes import export_kubernetes
from tuner.export.llm_d import export_llm_d
from tuner.export.record_json import export_json
from tuner.export.systemd import export_systemd
from tuner.export.vllm_yaml import export_yaml

#: What is exported to text. Raises UsageError for what the format cannot say.
Exporter = Callable[[Chosen], str]

EXPORTERS: Mapping[str, Exporter] = {
    "command": export_command,
    "yaml": export_yaml,
    "json": export_json,
    "compose": export_compose,
    "systemd": export_systemd,
    "kubernetes": export_kubernetes,
    "helm": export_helm,
    "kserve": export_kserve,
    "llm-d": export_llm_d,
}
