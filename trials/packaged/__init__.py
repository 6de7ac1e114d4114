"""What was packaged, run as Lambda runs it: a process per function that has the zips and nothing else."""
