"""Is it real? How far labels have come, whether they are selective, whether probabilities are right."""
