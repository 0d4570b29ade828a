"""A file of recorded measurements in, an engine that answers from them out: nothing is launched, and time passes as recorded.

For comparing ways of searching: the loop, the budget and the database are those of a real study (docs/replay.md).
"""
