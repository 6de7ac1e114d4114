"""`make package`: the template and the zips of one stage, made by Chalice, checked, in build/package/{stage}-{arch}/.

Knows how Chalice is given a stage (a folder with a copy of the code, its configuration and its policies) and what must
not be in a zip. Not here: the template's content (infra/template.py) and its checks (infra/checks.py).
The same sources give the same bytes: the zips are written again in the order of names, without times.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chalicelib.topology import WEBHOOK
from infra import policies
from infra.stage_file import StageFile, StageFileError, identity, read

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURES = ("arm64", "x86_64")
STAGE = re.compile(r"[a-z][a-z0-9]{0,19}")

# What is deployed of the repository; requirements.txt and Chalice's own runtime become the layer.
DEPLOYED = ("app.py", "chalicelib", "requirements.txt")

FUNCTIONS_ZIP, LAYER_ZIP, TEMPLATE, MANIFEST = "functions.zip", "layer.zip", "template.json", "manifest.json"

# Chalice's name for the function behind the routes.
API_HANDLER = "api_handler"

# Zip knows no time before this one.
EPOCH = (1980, 1, 1, 0, 0, 0)


class PackageError(Exception):
    """Packaging cannot go on; the text is one line with what to do."""


@dataclass(frozen=True)
class Package:
    """A packaged stage: its folder holds template, zips and manifest."""

    folder: Path

    @property
    def template(self) -> Any:
        """The template as it will be deployed, with local names of the zips."""
        return json.loads((self.folder / TEMPLATE).read_text(encoding="utf-8"))

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Stage, architecture, runtime, interpreter, and the SHA-256 of each file."""
        found: dict[str, Any] = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
        return found

    @property
    def functions(self) -> Path:
        return self.folder / FUNCTIONS_ZIP

    @property
    def layer(self) -> Path:
        return self.folder / LAYER_ZIP


def folder_of(stage: str, architecture: str, root: Path = ROOT) -> Path:
    """Where the package of a stage lies."""
    return root / "build" / "package" / f"{stage}-{architecture}"


def build(stage: str, architecture: str, out: Path, root: Path = ROOT, stage_file: StageFile | None = None) -> Package:
    """Package one stage into `out`, which is emptied first. Raises PackageError, StageFileError."""
    from infra.template import merge_template

    with tempfile.TemporaryDirectory() as work:
        source, made = Path(work) / "source", Path(work) / "made"
        write_source(source, stage, architecture, root)
        merge = Path(work) / "merge.json"
        merge.write_text(json.dumps(merge_template(stage, stage_file)), encoding="utf-8")
        run_chalice(source, made, stage, merge)
        if out.exists():
            shutil.rmtree(out)
        out.mkdir(parents=True)
        rewrite_zip(made / "deployment.zip", out / FUNCTIONS_ZIP)
        rewrite_zip(made / "layer-deployment.zip", out / LAYER_ZIP)
        template = json.loads((made / "sam.json").read_text(encoding="utf-8"))
    name_zips(template)
    (out / TEMPLATE).write_text(json.dumps(template, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    manifest = {
        "stage": stage,
        "architecture": architecture,
        "stage_file": identity(stage_file),
        "runtime": f"python{sys.version_info.major}.{sys.version_info.minor}",
        "python": os.path.realpath(sys.executable),
        "sha256": {name: digest(out / name) for name in (FUNCTIONS_ZIP, LAYER_ZIP, TEMPLATE)},
    }
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return Package(out)


def write_source(folder: Path, stage: str, architecture: str, root: Path = ROOT) -> None:
    """The folder that Chalice packages: the deployed code, and a configuration that knows this stage only."""
    folder.mkdir(parents=True)
    for name in DEPLOYED:
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(root / name, folder / name)
    requirements = (root / "requirements.txt").read_text(encoding="utf-8")
    (folder / "requirements.txt").write_text(f"-c {root / 'constraints.txt'}\n{requirements}", encoding="utf-8")
    chalice = folder / ".chalice"
    chalice.mkdir()
    (chalice / "config.json").write_text(json.dumps(chalice_config(stage, architecture), indent=1), encoding="utf-8")
    for function in policies.CALLED:
        (chalice / _policy_file(function)).write_text(json.dumps(policies.document(function)), encoding="utf-8")


def chalice_config(stage: str, architecture: str) -> Mapping[str, Any]:
    """The repository's configuration for one stage: one role per function, each with its own policy file."""
    functions = {
        API_HANDLER if function == WEBHOOK else function: {"iam_policy_file": _policy_file(function)}
        for function in policies.CALLED
    }
    base = json.loads((ROOT / ".chalice" / "config.json").read_text(encoding="utf-8"))
    return {
        **base,
        "lambda_architecture": architecture,
        "environment_variables": {"PLUMBLINE_STAGE": stage},
        "stages": {stage: {"lambda_functions": functions}},
    }


def _policy_file(function: str) -> str:
    return f"policy-{function}.json"


def run_chalice(source: Path, made: Path, stage: str, merge: Path) -> None:
    """Chalice's own exit status is 0 when it leaves a package out: what it says must be read."""
    command = [str(Path(sys.executable).with_name("chalice")), "package", "--stage", stage]
    command += ["--template-format", "json", "--merge-template", str(merge), str(made)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PLUMBLINE_"))}
    environment.update(AWS_DEFAULT_REGION="us-east-1", AWS_CONFIG_FILE=os.devnull, PYTHONDONTWRITEBYTECODE="1")
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
    output = f"{done.stdout}\n{done.stderr}"
    if left_out := re.search(r"Could not install dependencies:\s*((?:\S+\s*)+?)(?:You will|\Z)", output):
        packages = " ".join(left_out[1].split())
        raise PackageError(f"no wheel for Lambda of {packages}: choose a version that has one in requirements.txt")
    if done.returncode != 0 or "Could not install" in output:
        last = [line for line in output.splitlines() if line.strip()] or ["it said nothing"]
        raise PackageError(f"chalice package failed: {last[-1].strip()}")


def name_zips(template: Any) -> None:
    """Give the zips in the template, in place, the names that they have beside it."""
    for resource in template["Resources"].values():
        if resource.get("Type") == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = FUNCTIONS_ZIP
        elif resource.get("Type") == "AWS::Serverless::LayerVersion":
            resource["Properties"]["ContentUri"] = LAYER_ZIP


def rewrite_zip(source: Path, target: Path) -> None:
    """The same files in the order of their names, with neither times nor compiled files."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in sorted(set(old.namelist())):
            if name.endswith(("/", ".pyc")):
                continue
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            new.writestr(entry, old.read(name))


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def megabytes(size: int) -> str:
    """A size as people read it: millions of bytes."""
    return f"{size / 1e6:.1f} MB"


def check_stage(stage: str) -> str:
    """The stage's name as it is. Raises PackageError for one that chalicelib/settings.py would refuse too."""
    if not STAGE.fullmatch(stage):
        raise PackageError(
            f"STAGE={stage!r}: expected a lower-case letter, then at most 19 lower-case letters and digits"
        )
    return stage


def main(arguments: Sequence[str] | None = None) -> int:
    """Package, list the checks; 0 when all hold, 1 when one does not, 2 for a wrong argument."""
    from infra.checks import check, checks_of

    parser = argparse.ArgumentParser(prog="python -m infra.package", description="Template and zips of one stage.")
    parser.add_argument("--stage", required=True)
    parser.add_argument("--arch", default="arm64", choices=ARCHITECTURES)
    parser.add_argument(
        "--file", type=Path, help="the stage's file; stages/{stage}.json by default, where there is one"
    )
    options = parser.parse_args(arguments)
    try:
        stage = check_stage(options.stage)
        path = options.file or ROOT / "stages" / f"{stage}.json"
        stage_file = read(path, stage) if options.file or path.exists() else None
        package = build(stage, options.arch, folder_of(stage, options.arch), stage_file=stage_file)
    except (PackageError, StageFileError) as error:
        print(error, file=sys.stderr)
        return 2
    results = check(checks_of(package))
    for result in results:
        print(result.line)
    failed = sum(bool(result.faults) for result in results)
    sizes = ", ".join(f"{path.name} {megabytes(path.stat().st_size)}" for path in (package.functions, package.layer))
    print(f"{len(results) - failed} checks hold, {failed} fail; {package.manifest['runtime']} {options.arch}: {sizes}")
    print(f"in {package.folder.relative_to(ROOT)}/: {TEMPLATE}, {FUNCTIONS_ZIP}, {LAYER_ZIP}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
