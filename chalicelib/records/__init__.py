"""From bytes to typed columns: what an endpoint was asked and answered, and what turned out to be true.

Reads SageMaker's capture and ground-truth files, cuts time into windows, joins labels to requests and lays the
result out in columns. Nothing here counts, compares or decides; nothing here knows where a file is stored.
"""
