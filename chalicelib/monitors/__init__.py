"""States into SageMaker Model Monitor's files: statistics, suggested constraints and constraint violations.

Layouts, names and texts are Model Monitor's, so that its readers keep working. Nothing here knows where a file is
kept, whether a finding is real, or what is done about it.
"""
