"""AWS, one service per module: each implements one Protocol of `ports.py` and nothing more.

An adapter knows its service's request and answer shapes and error codes. It refuses to know another adapter, any
threshold, the environment and the clock; it is given its client and creates none. It translates exactly the errors
that the Protocol names and lets every other one through, so that the queue delivers the message again.
"""
