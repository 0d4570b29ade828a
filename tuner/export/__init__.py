"""A finished trial in, text to deploy out. Pure: one small file per format."""
