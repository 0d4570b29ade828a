"""A production server's traffic against what its config was tuned for: drift, a study of the new traffic, a proposal, a canary."""
