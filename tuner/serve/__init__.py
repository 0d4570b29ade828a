"""`tuner serve`: studies over HTTP, for people and for machines."""
