"""What the user asked for in; a study out: its setup, the loop, one trial, and the verification of the winner.

setup.py makes what loop.py runs; trial.py runs one launch (launch, load, measure); verification.py launches the winner again.
"""
