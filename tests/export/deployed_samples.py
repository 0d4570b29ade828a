"""Trials to be exported for the tests of all that deploys."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from samples import FINGERPRINT, chosen, measured, trial

from tuner import __version__
from tuner.decide.gain import Gain
from tuner.decide.verdict import Answer, Verdict
from tuner.export.chosen import Chosen
from tuner.export.formats import EXPORTERS
from tuner.types import Command, Params
from tuner.types.settings import flag

GOLDEN = Path(__file__).with_name("golden")
SUFFIXES = {"command": "sh", "json": "json", "systemd": "service"}
#: Those that other software than a shell, vLLM and a human reads.
DEPLOYED = ("compose", "systemd", "kubernetes", "helm", "kserve", "llm-d")
BETTER = Verdict(
    answer=Answer.BETTER,
    trial=3,
    launches=4,
    defaults=3,
    gain=Gain(gain=0.283, low=0.2, high=0.366, noise=0.02, p_better=0.001, p_worse=0.999, least_seen=0.05),
    level=0.02,
)
#: Texts that one reader or another takes for something else.
HAZARDS = (
    *("", " lead", "trail ", "0123", "12_000", "10:30", "1e3", "0o7", "0x1f", "yes", "null", "~", ".inf", "-x", "# c"),
    *("{% if x %}", "{{ .Values }}", "{{`{{`}}", "{{{{{", "`", "@x", "a: b", "[1, 2]", '{"a": {"b": "c d"}}', "&x *y"),
    *("$VAR", "$$x", "$(HOME)", "${X:-y}", "$", "%n", "%%", "100%", ";", "\\", "a\\nb", "\\x41", "it's", 'say "x"'),
    *("two\nlines", "a\ttab", "\x07", "\x7f", "ü → 😀", "\u2028", "\ufeff", "long " * 60),
)


def to_deploy(
    arguments: tuple[str, ...] = (),
    *,
    model: str = "some/model",
    settings: Params | None = None,
    environment: Mapping[str, str] | None = None,
    program: str = "/opt/engine/bin/vllm",
    host: str = "127.0.0.1",
    study: str = "demo",
) -> Chosen:
    """A verified trial that ran with these words after its model, and the flags of `settings`."""
    flags = tuple(part for name, value in (settings or {}).items() for part in flag(name, value))
    command = Command(
        argv=(program, "serve", model, *flags, *arguments),
        model=model,
        settings=settings or {},
        environment=environment or {},
    )
    return chosen(replace(trial(3, measured()), command=command), BETTER, host=host, study=study)


def golden() -> dict[str, str]:
    """What the files in golden/ hold, by their names."""
    settings: Params = {
        "tensor_parallel_size": 2,
        "max_num_seqs": 512,
        "enable_prefix_caching": False,
        "kv_cache_dtype": "fp8",
        "compilation_config.cudagraph_mode": "FULL",
        "hf_overrides.text": "costs $5, 100%",
    }
    found = to_deploy(
        settings=settings,
        model="deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
        environment={"VLLM_ATTENTION": "a $HOME", "OMP_NUM_THREADS": "1"},
        study="h100 chat",
    )
    where = replace(FINGERPRINT, gpu="NVIDIA H100 80GB HBM3", gpu_count=2, model=found.trial.command.model)
    found = replace(found, fingerprint=where)
    texts = {f"{name}.{SUFFIXES.get(name, 'yaml')}": export(found) for name, export in EXPORTERS.items()}
    return {
        name: re.sub(rf'(tuner(?:_version"?)?: "?){re.escape(__version__)}', r"\1X", text)
        for name, text in texts.items()
    }


if __name__ == "__main__":
    for name, text in golden().items():
        (GOLDEN / name).write_text(text)
