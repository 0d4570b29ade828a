"""A GPU's YAML file in; the search space, and which of its points are valid, out. Samplers are not known here."""
