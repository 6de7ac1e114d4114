"""The parts of `make evidence`: one module each, named as in `ORDER` with `_` for `-`."""

# The order of docs/evidence.md.
ORDER = ("null", "power", "windows", "loss", "label-free", "cause", "policy")
