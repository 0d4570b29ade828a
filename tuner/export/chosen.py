"""What an export is made of, in one record."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tuner.decide.harm import Judged
from tuner.decide.pareto import Front
from tuner.decide.verdict import Verdict
from tuner.types import Fingerprint, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A trial to deploy, at the user's address. `fingerprint` is where it was measured, `verdict` what its study says of it
    (None where it says nothing), `metric` the first that the study optimizes, `front` that of several, `defaults` the trial of
    vLLM's defaults, `quality` what the finalists' answers say, by trial."""

    study: str
    trial: Trial
    fingerprint: Fingerprint
    host: str = "127.0.0.1"
    port: int = 8000
    verdict: Verdict | None = None
    metric: str | None = None
    front: Front | None = None
    defaults: Trial | None = None
    quality: Mapping[int, Judged] = field(default_factory=dict)
