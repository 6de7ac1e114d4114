"""The replay: a real drifting stream through the same handlers that AWS will run, from first model to final table."""
