"""What is known and claimed, as typed documents in one table; each file documents the keys that it owns.

Facts read, think, and write back conditionally over the Ledger port (docs/decisions/0002); definitions alone are
documents in S3. They refuse to know SageMaker and thresholds.
"""
