"""Where a trial was measured in; the container image of exactly that vLLM, and what is to be known of it, out. Pure.

The releases of vLLM are vllm/vllm-openai:vX.Y.Z, for CPUs vllm/vllm-openai-cpu:vX.Y.Z.
"""

import re
from dataclasses import dataclass

from tuner.types import Fingerprint

_VERSION = re.compile(
    r"(?P<release>\d+\.\d+(?:\.\d+)?(?:\.post\d+)?)(?P<before>(?:a|b|rc|\.dev)[\w.]*)?(?:\+(?P<local>[\w.]+))?"
)


@dataclass(frozen=True, slots=True)
class Image:
    """`note` is None where the image is the very release that was measured."""

    repository: str
    tag: str
    note: str | None = None

    @property
    def name(self) -> str:
        return f"{self.repository}:{self.tag}"


def image_of(fingerprint: Fingerprint) -> Image:
    """The release that is the measured version, or the nearest, which is said."""
    on_cpu = fingerprint.gpu is None and fingerprint.unreal is None
    repository = "vllm/vllm-openai-cpu" if on_cpu else "vllm/vllm-openai"
    version = fingerprint.engine_version
    found = _VERSION.search(version)
    if found is None:
        return Image(repository, "VERSION", f"vLLM {version!r} names no release: put the version for VERSION")
    release, before, local = found["release"], found["before"], found["local"]
    tag = f"v{release}" if release.count(".") >= 2 else f"v{release}.0"
    return Image(repository, tag, _note(version, tag, before, local, on_cpu=on_cpu))


def _note(version: str, tag: str, before: str | None, local: str | None, *, on_cpu: bool) -> str | None:
    if before is not None:
        return f"vLLM {version} has no release image: {tag} is the release that it came before: measure that, or build your own"
    if local is not None and not (on_cpu and local == "cpu"):
        return f"measured was the build {version}; the image {tag} is built by vLLM's release: its CUDA may be another"
    return None
