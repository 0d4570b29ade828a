"""Evidence in, diagnosis out, by the rules of docs/diagnosis.md. Pure."""

from collections.abc import Callable, Mapping

from tuner.diagnose.diagnosis import Diagnosis
from tuner.diagnose.evidence import Evidence
from tuner.types import Params

#: Settings to the relative gain that is predicted for them over those at hand; None where they do not start or nobody knows.
PredictGain = Callable[[Params], float | None]
#: Thresholds by their names, of the card and the model at hand.
CardThresholds = Mapping[str, float]


def diagnose(
    seen: Evidence, settings: Params, *, card: CardThresholds | None = None, predict: PredictGain | None = None
) -> Diagnosis:
    """What holds the server back. `card` replaces thresholds of the table by those of the card."""
    raise NotImplementedError
