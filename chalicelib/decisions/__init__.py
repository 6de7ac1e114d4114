"""What to do: pure functions from evidence and policy to a decision, and the words of an alert."""
