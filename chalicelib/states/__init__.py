"""Mergeable statistics of records, without the records.

Each state is an immutable value with `a + b`, an identity and a versioned binary form. Addition is commutative and
associative, and the same records give the same bytes however they are split into files (where that holds only within a
bound, the module states it and the state carries it).
"""
