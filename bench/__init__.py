"""Measurements: what they print is compared within one run, never between machines."""
