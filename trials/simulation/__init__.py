"""Thousands of hostile histories against the handlers of `app.py`, and the laws that must hold after each of them.

history.py draws what happens from one seed, hostile.py is the hostile account (services that fail, stall and let others
in between), world.py plays a history, laws.py judges what is left, shrink.py tells the shortest history that fails,
mutations.py plants faults that the laws must catch. `python -m trials.simulation --help` runs it.
"""
