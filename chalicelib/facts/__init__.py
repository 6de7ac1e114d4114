"""What is known and claimed, as typed documents in one table; each file documents the keys that it owns.

Facts use only the Ledger port: read, think, write back conditionally (docs/decisions/0002). They refuse to know S3,
SageMaker and thresholds.
"""
