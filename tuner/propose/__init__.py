"""History in, next settings out: the only door to Optuna."""
