"""Where a study was measured in; the sentence that must stand before all that comes of it where nothing was, out. Pure."""

from tuner.types import Fingerprint

_WHY = {
    "SIMULATED": "no GPU and no vLLM has run, the numbers are those of tuner's model of them",
    "REPLAYED": "nothing has run, the numbers were recorded before",
}


def unreal_sentence(fingerprint: Fingerprint) -> str | None:
    """None for a study whose servers ran."""
    if (word := fingerprint.unreal) is None:
        return None
    return f"{word}: {_WHY[word]}; measure `vllm serve` with the same flags before you rely on it"
