"""A server that runs, or two sides of anything: `tuner bench` and `tuner compare`."""
