"""A production server's traffic and what its config was tuned for: drift, a study of it, a proposal, a canary."""
