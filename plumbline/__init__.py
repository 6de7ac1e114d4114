"""Plumbline for people: the `plumbline` command."""
