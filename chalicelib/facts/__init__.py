"""Facts and claims as typed documents in one table; each file documents the keys that it owns.

Facts are read, changed and written back conditionally through the Ledger port (docs/decisions/0002); only definitions
are documents in S3. Not here: SageMaker, thresholds.
"""
