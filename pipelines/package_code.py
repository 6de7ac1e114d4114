"""What lies under CodeUri: the step scripts and the pure floors that they import, side by side.

    python -m pipelines.package_code s3://bucket/prefix     upload
    python -m pipelines.package_code /some/folder           copy

Packs the files that a step needs. Not here: any bucket or account. A step's folder is the first entry of its
import path, so the floors must lie next to the scripts: no installation in the image, no archive.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("errors.py", "records", "states", "monitors")


def files(root: Path = ROOT) -> dict[str, Path]:
    """Key under CodeUri -> local file, in key order; the same for every build of the same sources."""
    listed = {path.name: path for path in (root / "pipelines/steps").glob("*.py")}
    for path in (root / "chalicelib/__init__.py", *_floor_files(root)):
        listed[path.relative_to(root).as_posix()] = path
    return dict(sorted(listed.items()))


def copy(target: Path, root: Path = ROOT) -> None:
    """Lay the files out under a local folder."""
    for key, path in files(root).items():
        (target / key).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / key)


def upload(code_uri: str, root: Path = ROOT) -> None:
    """Put the files under `s3://bucket/prefix`."""
    import boto3

    bucket, _, prefix = code_uri.removeprefix("s3://").strip("/").partition("/")
    client = boto3.client("s3")
    for key, path in files(root).items():
        client.put_object(Bucket=bucket, Key=f"{prefix}/{key}".lstrip("/"), Body=path.read_bytes())


def _floor_files(root: Path) -> Iterator[Path]:
    for name in FLOORS:
        place = root / "chalicelib" / name
        yield from place.rglob("*.py") if place.is_dir() else (place,)


def main(arguments: list[str]) -> int:
    """Copy or upload, by the form of the one argument."""
    if len(arguments) != 1:
        print("usage: python -m pipelines.package_code s3://bucket/prefix | folder", file=sys.stderr)
        return 2
    (target,) = arguments
    if target.startswith("s3://"):
        upload(target)
    else:
        copy(Path(target))
    print(f"{len(files())} files under {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
