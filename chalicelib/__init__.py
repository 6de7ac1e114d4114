"""Plumbline: watches deployed models, says whether they are still true, and retrains them when they are not."""
