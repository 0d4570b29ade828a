"""Trials in; the same trials out, after a crash too. Our own tables beside Optuna's, in one database."""
