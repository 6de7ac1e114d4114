"""`python -m tests.sdk PYTHON`: write the reports of the churn windows, let the SDK in the other environment read them.

Two interpreters, because the SDK and our tests cannot share one: this one builds the files and holds moto, PYTHON has
the SDK and runs `readers.py` against it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.unit.monitors.churn_windows import baseline_files, hurt, other_problems, window

ROOT = Path(__file__).parents[2]


def write_reports(folder: Path) -> None:
    """Baselines and windows, evaluated and not, of all monitor types and problem types, each in a folder of its own."""
    windows = {
        "calm": window(),
        "violated": window(hurt()),
        "unlabelled": window(labelled=False),
        "without-baseline": window(known=False),
        "empty": window([]),
    }
    baselines = {"baseline": baseline_files()}
    for problem, (known, findings) in other_problems().items():
        baselines[f"baseline-{problem}"], windows[problem] = known, findings
    files = {f"{name}/{path}": body for name, found in baselines.items() for path, body in found.items()}
    for name, findings in windows.items():
        for kind, documents in findings.documents.items():
            files |= {f"{name}/{kind}/{file}": body for file, body in documents.items()}
    for path, body in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(body)


def main(python: str) -> int:
    with tempfile.TemporaryDirectory() as place:
        write_reports(Path(place))
        moto = subprocess.Popen(
            [sys.executable, "-m", "emulator.moto_server"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert moto.stdin and moto.stdout
        try:
            port = int(moto.stdout.readline())
            # Nothing of the person who runs this, and no server but moto.
            environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
            environment |= {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "moto",
                "AWS_SECRET_ACCESS_KEY": "moto",
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                "SAGEMAKER_ADMIN_CONFIG_OVERRIDE": str(ROOT / "pipelines/sdk-defaults.yaml"),
                "SAGEMAKER_USER_CONFIG_OVERRIDE": str(ROOT / "pipelines/sdk-defaults.yaml"),
                "SAGEMAKER_VALIDATE_ROLE": "false",
            }
            # By its path: packages of that environment have a `tests` of their own.
            return subprocess.run([python, Path(__file__).with_name("readers.py"), place], env=environment).returncode
        finally:
            moto.stdin.close()
            moto.wait()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.sdk PYTHON_WITH_THE_SDK")
    sys.exit(main(sys.argv[1]))
