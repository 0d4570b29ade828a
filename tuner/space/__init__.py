"""A GPU's YAML file in; the search space, and which of its points are valid, out. Samplers are not known here."""

from tuner.space.files import load_space, shipped_spaces, space_for
from tuner.space.parameters import Categorical, Float, Int, Parameter, shown
from tuner.space.rules import Rule
from tuner.space.search_space import UNSET, Gpu, SearchSpace

__all__ = [
    "UNSET",
    "Categorical",
    "Float",
    "Gpu",
    "Int",
    "Parameter",
    "Rule",
    "SearchSpace",
    "load_space",
    "shipped_spaces",
    "shown",
    "space_for",
]
