"""Steps that several handlers share: each reads and writes through the services it is given."""
