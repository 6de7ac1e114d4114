"""`make evidence`: is what the package says about drift, loss, causes and retraining true? Simulated, seeded, measured.

Each part is one module of `trials.evidence.parts` with a function `run(seed) -> Part`. A part uses the package's own
functions with their defaults. `__main__` runs parts, `document` writes what they found into docs/evidence.md.
"""
