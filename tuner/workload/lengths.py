"""A distribution of token counts in; one count drawn, or their mean, out. Knows nothing of requests. Pure."""

import math
import random
from statistics import NormalDist, fmean

from tuner.types import Histogram, Lengths, Lognormal, TokenCounts

#: More than any model's context; a file that asks for more is taken to be wrong.
MAX_TOKENS = 10_000_000
#: More than any machine's ports and files allow, and requests a second than any server answers.
MAX_USERS, MAX_RATE = 1_000_000, 1e6
#: Less than one request in a window of a day, the longest: nothing is measured, and a simulation of it has no end.
MIN_RATE = 1e-5
#: Requests of one conversation.
MAX_TURNS = 64
#: A rule of thumb for English, good enough where no tokenizer can be asked how long a text is.
CHARACTERS_PER_TOKEN = 4
_NORMAL = NormalDist()
#: Equal steps of probability over which a lognormal's mean is taken.
_STEPS = 10_000


def draw(counts: TokenCounts, rng: random.Random) -> int:
    """One token count; always in [low, high]."""
    match counts:
        case Lengths(low=low, high=high):
            return rng.randint(low, high)
        case Lognormal():
            return _quantile(counts, rng.random())
        case Histogram(buckets=buckets):
            ((low, high, _),) = rng.choices(buckets, [weight for _, _, weight in buckets])
            return rng.randint(low, high)


def mean(counts: TokenCounts) -> float:
    """The expected token count (a lognormal's by numeric integration)."""
    match counts:
        case Lengths(low=low, high=high):
            return (low + high) / 2
        case Lognormal():
            return fmean(_quantile(counts, (step + 0.5) / _STEPS) for step in range(_STEPS))
        case Histogram(buckets=buckets):
            return fmean([(low + high) / 2 for low, high, _ in buckets], [weight for _, _, weight in buckets])


def _quantile(counts: Lognormal, share: float) -> int:
    """The count below which `share` of them lie.

    Drawing again until the rounded count is within [low, high] is the same as one draw from that part of the distribution
    (inverse transform sampling; Devroye, Non-Uniform Random Variate Generation, 1986, II.2), which cannot take forever.
    """
    center = math.log(counts.median)
    lowest, highest = (
        _NORMAL.cdf((math.log(end) - center) / counts.sigma) for end in (counts.low - 0.5, counts.high + 0.5)
    )
    inside = min(max(lowest + share * (highest - lowest), 1e-300), 1 - 1e-16)  # its ends have no finite quantile
    exponent = min(center + counts.sigma * _NORMAL.inv_cdf(inside), 700.0)  # of the largest float
    return min(max(round(math.exp(exponent)), counts.low), counts.high)
