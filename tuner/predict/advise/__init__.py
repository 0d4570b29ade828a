"""What is known of a model, a card and a workload in; the settings to begin with, and why, out. Nothing is launched. Pure.

case.py asks the model of a server (tuner.predict), region.py says which settings start, search.py which are best, limits.py
what holds them back, remedies.py what would help where none starts; advice.py puts it together, plan_json.py writes it.
"""
