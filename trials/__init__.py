"""Laws under hostile bytes and histories: simulation, fuzz, kill, late labels, the packaged functions."""
