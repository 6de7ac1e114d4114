"""AWS, one service per module: each implements one Protocol of `ports.py` and nothing more.

An adapter knows its service's requests, answers and error codes. It gets its client as an argument, and it translates
only the errors that the Protocol names; every other one passes through, so that the queue delivers the message again.
Not here: other adapters, thresholds, the environment, the clock.
"""
