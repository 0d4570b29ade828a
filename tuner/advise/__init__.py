"""What is known of a model, a card and a workload in; the settings to begin with, and why, out. Nothing is launched. Pure.

case.py asks the model of a server (tuner.predict), region.py says which settings start, search.py which are best, limits.py
what holds them back, remedies.py what would help where none starts; advice.py puts it together, plan_json.py writes it.
"""

from tuner.advise.advice import Advice, Answer, Candidate, Price, advise
from tuner.advise.case import Case, Tell
from tuner.advise.limits import Bottleneck, Knob, Limit
from tuner.advise.plan_json import plan_json
from tuner.advise.region import Region, Span
from tuner.advise.search import Change

__all__ = [
    "Advice",
    "Answer",
    "Bottleneck",
    "Candidate",
    "Case",
    "Change",
    "Knob",
    "Limit",
    "Price",
    "Region",
    "Span",
    "Tell",
    "advise",
    "plan_json",
]
