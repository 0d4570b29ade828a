"""Where launches run, and how many at once: the slots of this host, or a Ray cluster."""
