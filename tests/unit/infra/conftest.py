"""A built package in memory: Chalice's real template, made without downloads, and zips that look like the real ones."""

from __future__ import annotations

import copy
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from infra import package
from infra.checks import CHALICE_RUNTIME, MACHINES, Built, pins_of
from infra.stage_file import StageFile
from infra.template import merge_template

STAGE, ARCHITECTURE = "dev", "arm64"
SITE = "python/lib/python3.12/site-packages"


def elf(architecture: str) -> bytes:
    """The header of a shared object."""
    return b"\x7fELF" + bytes(14) + struct.pack("<H", MACHINES[architecture]) + bytes(40)


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in sorted(files.items()):
            archive.writestr(name, body)
    return path


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return packaged_template(tmp_path_factory.mktemp("chalice"))


def packaged_template(work: Path, stage_file: StageFile | None = None) -> Any:
    """What `make package` makes, but for the runtime: the tests may run on an older Python."""
    package.write_source(work / "source", STAGE, ARCHITECTURE)
    (work / "source" / "requirements.txt").write_text("")  # nothing to download
    (work / "source" / "vendor").mkdir()
    (work / "source" / "vendor" / "vendored.py").write_text("# one\n")  # and yet a layer
    (work / "merge.json").write_text(json.dumps(merge_template(STAGE, stage_file)))
    package.run_chalice(work / "source", work / "made", STAGE, work / "merge.json")
    made = json.loads((work / "made" / "sam.json").read_text())
    package.name_zips(made)
    for resource in made["Resources"].values():
        if resource.get("Type") == "AWS::Serverless::Function":
            resource["Properties"]["Runtime"] = "python3.12"
    return made


@pytest.fixture(scope="session")
def function_files() -> dict[str, bytes]:
    files = {path.relative_to(package.ROOT).as_posix() for path in (package.ROOT / "chalicelib").rglob("*.*")}
    return {name: b"" for name in {name for name in files if "__pycache__" not in name} | {"app.py"} | CHALICE_RUNTIME}


@pytest.fixture(scope="session")
def pins() -> dict[str, str]:
    return dict(pins_of((package.ROOT / "requirements.txt").read_text()))


@pytest.fixture(scope="session")
def layer_files(pins: dict[str, str]) -> dict[str, bytes]:
    native = [f"{SITE}/numpy/_core/_multiarray_umath.so", f"{SITE}/msgspec/_core.so", f"{SITE}/numpy.libs/libx.so.3"]
    described = [f"{SITE}/{name.replace('-', '_')}-{version}.dist-info/METADATA" for name, version in pins.items()]
    return {**{name: elf(ARCHITECTURE) for name in native}, **{name: b"" for name in described}}


@pytest.fixture
def built(
    template: Any, function_files: dict[str, bytes], layer_files: dict[str, bytes], pins: dict[str, str], tmp_path: Path
) -> Built:
    """A package of which every check holds; its template is the test's own to spoil."""
    return Built(
        copy.deepcopy(template),
        write_zip(tmp_path / package.FUNCTIONS_ZIP, function_files),
        write_zip(tmp_path / package.LAYER_ZIP, layer_files),
        STAGE,
        ARCHITECTURE,
        (package.ROOT / "app.py").read_text(),
        pins,
    )
