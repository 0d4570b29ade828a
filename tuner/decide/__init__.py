"""Measurements in; objective, SLOs, rank, verdict, and the statistics behind them, out. Pure."""
