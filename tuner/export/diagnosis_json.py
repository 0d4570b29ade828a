"""A diagnosis and what it is of in; JSON out. Pure.

Each finding has its cause, strength (0..1, an order), evidence, rivals, remedies and words; `metrics` are the numbers by their
names with their units, absent ones left out.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

from tuner.diagnose.diagnosis import Diagnosis
from tuner.types import Measured
from tuner.types.finite import finite


def diagnosis_json(found: Diagnosis, measured: Measured, about: Mapping[str, object], *, at: datetime) -> str:
    """`about` is what is said of the server."""
    tree = {
        "date": f"{at:%Y-%m-%dT%H:%M:%S}",
        **about,
        "verdict": found.first.cause.value,
        "findings": [asdict(finding) for finding in found.findings],
        "metrics": measured.metrics(),
    }
    return json.dumps(finite(tree), indent=2, allow_nan=False) + "\n"
