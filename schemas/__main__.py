"""`python -m schemas` writes the schemas from the types; with `--check` it only says which are not current."""

from __future__ import annotations

import sys

from schemas import FOLDER, SCHEMAS, path_of, written


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: python -m schemas [--check]", file=sys.stderr)
        return 2
    wanted = {path_of(name): written(name) for name in SCHEMAS}
    found = {path: path.read_bytes() for path in FOLDER.glob("*.schema.json")}
    stale = sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path))
    for path in stale:
        if arguments:
            print(f"{path.name} is not what the types say", file=sys.stderr)
        elif path in wanted:
            path.write_bytes(wanted[path])
            print(f"wrote {path.name}")
        else:
            path.unlink()
            print(f"removed {path.name}")
    if arguments and stale:
        print("run: make schemas", file=sys.stderr)
        return 1
    if not stale:
        print(f"{len(wanted)} schemas are current")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
