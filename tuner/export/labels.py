"""Any text in; a name that Kubernetes, Compose and systemd take, out. Pure."""

import hashlib
import re
import unicodedata

#: A DNS label; a label's value may be as long.
_LONGEST = 63
_DIGEST = 6


def dns_label(text: str, longest: int = _LONGEST) -> str:
    """Lower-case letters, digits and dashes, a letter first. A text that loses something gets a digest, so that two texts
    keep two names."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    label = words if words[:1].isalpha() else f"vllm-{words}".strip("-")
    if label == text and len(label) <= longest:
        return label
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    return f"{label[: longest - _DIGEST - 1].rstrip('-')}-{digest}"
