"""States into SageMaker Model Monitor's files: statistics, suggested constraints and constraint violations.

Layouts, names and texts are Model Monitor's, so that its readers keep working. Not here: where a file is stored,
whether a finding is real, and what is done about it.
"""
