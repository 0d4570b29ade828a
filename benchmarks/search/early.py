"""How far a launch is behind the best in; the share of its window that it takes before that is certain, out. Pure.

The window is ended at the first look at which the launch lies behind by more than chance: the error of what was seen so far
falls with the square root of the time.
"""

from math import hypot, sqrt
from statistics import NormalDist

#: The first look is when this share of the window is over, and each next one when so much more is; the level of all looks.
FIRST, STEP, CHANCE = 0.25, 0.25, 0.01
#: What launches of equal settings differ by, a standard deviation of the logarithm.
BETWEEN = 0.02


def window_share(behind: float, error: float, best_error: float) -> float:
    """`behind` and the errors are of logarithms. 1 where the whole window is needed."""
    share, look = FIRST, 1
    while share < 1.0:
        level = CHANCE / 2 / (look * (look + 1))
        margin = NormalDist().inv_cdf(1 - CHANCE / 2) * hypot(BETWEEN, BETWEEN, best_error)
        if behind > margin + NormalDist().inv_cdf(1 - level) * error / sqrt(share):
            return share
        share, look = share + STEP, look + 1
    return 1.0
