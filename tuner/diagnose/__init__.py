"""Measurements in; what holds a server back, why, and what would move it, out. The rules are docs/diagnosis.md. Pure."""
