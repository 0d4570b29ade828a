"""Which image is the vLLM that was measured, and what is said where none is."""

from dataclasses import replace

import pytest
from samples import FINGERPRINT

from tuner.export.image import image_of

GPU, CPU = "vllm/vllm-openai", "vllm/vllm-openai-cpu"


@pytest.mark.parametrize(
    ("version", "gpu", "name", "said"),
    [
        ("0.32.0", "Tesla T4", f"{GPU}:v0.32.0", None),
        ("0.32.0.post1", "Tesla T4", f"{GPU}:v0.32.0.post1", None),
        ("0.32.0+cpu", None, f"{CPU}:v0.32.0", None),
        ("0.32.0", None, f"{CPU}:v0.32.0", None),
        ("0.32.0+cu129", "Tesla T4", f"{GPU}:v0.32.0", "its CUDA may be another"),
        ("0.33.0rc2", "Tesla T4", f"{GPU}:v0.33.0", "vLLM 0.33.0rc2 has no release image: v0.33.0 is the release"),
        ("0.32.1.dev7+gabc.cpu", None, f"{CPU}:v0.32.1", "vLLM 0.32.1.dev7+gabc.cpu has no release image"),
        ("SIMULATED vLLM 0.32", "SIMULATED Tesla T4", f"{GPU}:v0.32.0", None),
        ("REPLAYED vLLM 0.32.1, surface 0123456789abcdef", "REPLAYED T4", f"{GPU}:v0.32.1", None),
        ("unknown", "Tesla T4", f"{GPU}:VERSION", "names no release: put the version for VERSION"),
    ],
)
def test_the_image_of_a_version(version: str, gpu: str | None, name: str, said: str | None) -> None:
    found = image_of(replace(FINGERPRINT, engine_version=version, gpu=gpu))
    assert found.name == name
    assert found.note is None if said is None else said in (found.note or "")
