"""kill -9 of the process that runs the handlers, at random moments of a shortened demo, and what must hold then."""
