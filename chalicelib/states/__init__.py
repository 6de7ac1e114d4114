"""Mergeable facts: what is known about some records, without the records.

Each state is an immutable value with `a + b`, an identity and a binary form that carries a version. Addition is
commutative and associative, the same records give the same bytes however they were split into files (where that
holds only within a bound, the module says so and the state carries the bound).
"""
