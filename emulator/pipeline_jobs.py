"""Processing and training jobs as local processes: a new folder replaces /opt/ml, filled from S3 and uploaded to S3.

Implements the container contract of both job kinds. Not here: pipelines, logical time and the API.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulator.pipeline_definition import text

_ML = re.compile(r"/opt/ml(?![\w-])")


class JobError(Exception):
    """A job failed; the text is what the API gives as FailureReason."""


@dataclass(frozen=True)
class JobResult:
    """What a finished job adds to its request: the exit message, and where a training job's model lies."""

    exit_message: str = ""
    model_artifacts: str = ""


class Jobs:
    """Runs jobs one after the other in folders under `folder`; logs stay in `folder`/logs."""

    def __init__(self, s3: Any, folder: Path, environment: Mapping[str, str]) -> None:
        """`s3` is a boto3 client; `environment` is added to the otherwise clean environment of every job."""
        self._s3 = s3
        self._folder = folder
        self._environment = dict(environment)
        self._lock = threading.Lock()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stopped: set[str] = set()

    def log(self, job_name: str) -> Path:
        """The file with a job's standard output, then its standard error."""
        return self._folder / "logs" / f"{job_name.lower()}.log"

    def stop(self, job_name: str) -> None:
        """End the process of a job, also of one that still fetches its inputs; its run then raises JobError."""
        with self._lock:
            self._stopped.add(job_name)
            process = self._processes.get(job_name)
        if process is not None:
            process.terminate()

    def processing(self, job_name: str, request: Mapping[str, Any]) -> JobResult:
        """Run a CreateProcessingJob request: inputs from S3, the command, outputs to S3. Raises JobError."""
        root = self._fresh(job_name)
        for each in request.get("ProcessingInputs", []):
            source = each["S3Input"]
            self._download(source["S3Uri"], source.get("S3DataType", "S3Prefix"), _local(root, source["LocalPath"]))
        outputs = [each["S3Output"] for each in request.get("ProcessingOutputConfig", {}).get("Outputs", [])]
        for output in outputs:
            _local(root, output["LocalPath"]).mkdir(parents=True, exist_ok=True)
        (root / "output").mkdir(exist_ok=True)
        application = request["AppSpecification"]
        command = [*application.get("ContainerEntrypoint", []), *application.get("ContainerArguments", [])]
        self._run(job_name, root, command, request.get("Environment", {}))
        for output in outputs:
            self._upload(_local(root, output["LocalPath"]), output["S3Uri"])
        message = root / "output" / "message"
        exit_message = message.read_text(errors="replace").strip()[:1024] if message.exists() else ""
        shutil.rmtree(root)
        return JobResult(exit_message=exit_message)

    def training(self, job_name: str, request: Mapping[str, Any]) -> JobResult:
        """Run a CreateTrainingJob request; /opt/ml/model becomes model.tar.gz at its output path. Raises JobError."""
        if request["OutputDataConfig"].get("CompressionType", "GZIP") != "GZIP":
            raise JobError("ClientError: OutputDataConfig.CompressionType: this emulator writes GZIP only")
        root = self._fresh(job_name)
        channels = []
        for channel in request.get("InputDataConfig", []):
            source = channel["DataSource"]["S3DataSource"]
            folder = root / "input" / "data" / channel["ChannelName"]
            self._download(source["S3Uri"], source.get("S3DataType", "S3Prefix"), folder)
            channels.append(channel["ChannelName"])
        hyperparameters = {name: text(value) for name, value in request.get("HyperParameters", {}).items()}
        for folder in ("model", "output/data", "code", "input/config"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        config = root / "input" / "config"
        (config / "hyperparameters.json").write_text(json.dumps(hyperparameters))
        (config / "inputdataconfig.json").write_text(
            json.dumps({name: {"TrainingInputMode": "File"} for name in channels})
        )
        (config / "resourceconfig.json").write_text(json.dumps({"current_host": "algo-1", "hosts": ["algo-1"]}))
        environment = {**_toolkit_environment(channels, hyperparameters), **request.get("Environment", {})}
        self._run(job_name, root, self._training_command(root, request, hyperparameters), environment)
        prefix = f"{request['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{job_name}/output"
        self._put(f"{prefix}/model.tar.gz", pack(root / "model"))
        if any((root / "output" / "data").iterdir()):
            self._put(f"{prefix}/output.tar.gz", pack(root / "output" / "data"))
        shutil.rmtree(root)
        return JobResult(model_artifacts=f"{prefix}/model.tar.gz")

    def _training_command(
        self, root: Path, request: Mapping[str, Any], hyperparameters: Mapping[str, str]
    ) -> list[str]:
        algorithm = request["AlgorithmSpecification"]
        if "ContainerEntrypoint" in algorithm:
            return [*algorithm["ContainerEntrypoint"], *algorithm.get("ContainerArguments", [])]
        if "sagemaker_program" not in hyperparameters:
            raise JobError("ClientError: a training job needs a ContainerEntrypoint, or a sagemaker_program")
        # Script mode: the toolkit unpacks the source and hands every other hyperparameter over as an argument.
        plain = {name: _decoded(value) for name, value in hyperparameters.items()}
        if "sagemaker_submit_directory" in plain:
            unpack(self._get(plain["sagemaker_submit_directory"]), root / "code")
        arguments = [
            part
            for name, value in sorted(plain.items())
            if not name.startswith("sagemaker_")
            for part in (f"--{name}", value)
        ]
        return ["python3", f"/opt/ml/code/{plain['sagemaker_program']}", *arguments]

    def _fresh(self, job_name: str) -> Path:
        root = self._folder / "jobs" / job_name
        if root.exists():
            shutil.rmtree(root)
        (root / "tmp").mkdir(parents=True)
        self.log(job_name).parent.mkdir(parents=True, exist_ok=True)
        return root

    def _run(self, job_name: str, root: Path, command: Sequence[Any], environment: Mapping[str, Any]) -> None:
        words = [_ML.sub(str(root), text(word)) for word in command]
        if not words:
            raise JobError("ClientError: the job names no command; this emulator needs a ContainerEntrypoint")
        words = [sys.executable if word in ("python", "python3") else word for word in words[:1]] + words[1:]
        full = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
            "HOME": str(root),
            "TMPDIR": str(root / "tmp"),
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "2",
            **self._environment,
            **{name: _ML.sub(str(root), text(value)) for name, value in environment.items()},
            "ML_ROOT": str(root),
        }
        errors = self.log(job_name).with_suffix(".stderr")
        with self.log(job_name).open("wb") as out, errors.open("wb") as err:
            try:
                process = subprocess.Popen(words, cwd=root, env=full, stdout=out, stderr=err, stdin=subprocess.DEVNULL)
            except OSError as error:
                raise JobError(f"ClientError: the command could not be started: {error.strerror}") from error
            with self._lock:
                self._processes[job_name] = process
                stopped = job_name in self._stopped
            if stopped:
                process.terminate()
            code = process.wait()
            with self._lock:
                del self._processes[job_name]
        complaint = errors.read_text(errors="replace")
        with self.log(job_name).open("a") as out:
            out.write(complaint)
        errors.unlink()
        if code != 0:
            failure = root / "output" / "failure"
            reason = _last_line(failure.read_text(errors="replace")) if failure.exists() else ""
            raise JobError(f"AlgorithmError: {reason or _last_line(complaint)}, exit code: {code}")

    def _download(self, uri: str, kind: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if kind == "ManifestFile":
            entries = json.loads(self._get(uri))
            prefix = entries[0]["prefix"]
            sources = [(prefix + name, name) for name in entries[1:]]
        else:
            sources = list(self._under(uri))
        if not sources:
            raise JobError(f'ClientError: No S3 objects found under S3 URL "{uri}" given in input data source.')
        for source, name in sources:
            target = (folder / name).resolve()
            if not target.is_relative_to(folder.resolve()):
                raise JobError(f"ClientError: the object name {name!r} leaves the input folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self._get(source))

    def _under(self, uri: str) -> Iterator[tuple[str, str]]:
        # Narrower than S3Prefix: `s3://b/train` is the object or the folder of that name, never `train-old/`.
        bucket, prefix = split_uri(uri)
        folder = prefix if prefix.endswith("/") or not prefix else prefix + "/"
        for listing in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in listing.get("Contents", []):
                key = entry["Key"]
                if key == prefix:
                    yield f"s3://{bucket}/{key}", key.rpartition("/")[2]
                elif key.startswith(folder) and not key.endswith("/"):
                    yield f"s3://{bucket}/{key}", key[len(folder) :]

    def _upload(self, folder: Path, uri: str) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self._put(f"{uri.rstrip('/')}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def _get(self, uri: str) -> bytes:
        bucket, key = split_uri(uri)
        return bytes(self._s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    def _put(self, uri: str, body: bytes) -> None:
        bucket, key = split_uri(uri)
        self._s3.put_object(Bucket=bucket, Key=key, Body=body)


def split_uri(uri: str) -> tuple[str, str]:
    """`s3://bucket/key` -> (bucket, key). Raises JobError for any other text."""
    match = re.fullmatch(r"s3://([^/]+)/?(.*)", uri, re.DOTALL)
    if match is None:
        raise JobError(f"ClientError: {uri!r} is not an S3 URI")
    return match[1], match[2]


def pack(folder: Path) -> bytes:
    """The folder's content as tar.gz; the same files always give the same bytes (no times, no owners)."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in sorted(folder.rglob("*")):
            entry = archive.gettarinfo(path, path.relative_to(folder).as_posix())
            entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
            entry.mode = 0o755 if path.is_dir() else 0o644
            if path.is_file():
                with path.open("rb") as content:
                    archive.addfile(entry, content)
            else:
                archive.addfile(entry)
    return buffer.getvalue()


def unpack(body: bytes, folder: Path) -> None:
    """Unpack a tar.gz into a folder; members that would leave the folder are refused (tarfile's data filter)."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:*") as archive:
        archive.extractall(folder, filter="data")


def _local(root: Path, path: str) -> Path:
    if not path.startswith("/opt/ml/"):
        raise JobError(f"ClientError: the local path {path} is not below /opt/ml")
    return root / path.removeprefix("/opt/ml/")


def _toolkit_environment(channels: Sequence[str], hyperparameters: Mapping[str, str]) -> dict[str, str]:
    plain = {name: _decoded(value) for name, value in hyperparameters.items() if not name.startswith("sagemaker_")}
    return {
        "SM_MODEL_DIR": "/opt/ml/model",
        "SM_OUTPUT_DIR": "/opt/ml/output",
        "SM_OUTPUT_DATA_DIR": "/opt/ml/output/data",
        "SM_INPUT_DIR": "/opt/ml/input",
        "SM_INPUT_CONFIG_DIR": "/opt/ml/input/config",
        "SM_CHANNELS": json.dumps(sorted(channels)),
        "SM_HPS": json.dumps(plain, sort_keys=True),
        **{f"SM_CHANNEL_{name.upper()}": f"/opt/ml/input/data/{name}" for name in channels},
        **{f"SM_HP_{name.upper()}": value for name, value in plain.items()},
    }


def _decoded(value: str) -> str:
    """The SDK writes a text hyperparameter as JSON text; the toolkit takes the quotes off."""
    try:
        decoded = json.loads(value)
    except ValueError:
        return value
    return decoded if isinstance(decoded, str) else value


def _last_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1][:900] if lines else "no message"
