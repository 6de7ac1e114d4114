"""One window: measured, judged, explained."""
