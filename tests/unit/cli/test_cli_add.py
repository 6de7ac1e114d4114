"""`plumbline add`: a checked file, a stored monitor, or one line that says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from chalicelib import wiring
from chalicelib.facts import champions, monitors
from emulator.memory import MemoryServices, memory_services
from plumbline.cli.main import main

NOW = datetime(2026, 1, 5, 12, 34, 56, tzinfo=UTC)
EXAMPLES = Path(__file__).parents[3] / "examples" / "electricity"

DOCUMENT: dict[str, Any] = {
    "name": "churn",
    "endpoint": "churn-endpoint",
    "capture_s3_uri": "s3://captures",
    "output_s3_uri": "s3://reports",
    "ground_truth_s3_uri": "s3://labels/churn",
    "attributes": {"probability_attribute": "0"},
}


@pytest.fixture
def services() -> Iterator[MemoryServices]:
    """An account in memory in which the endpoint churn-endpoint serves the model churn-1."""
    found = memory_services(lambda: NOW)
    serve(found, "churn-1", {"ModelDataUrl": "s3://models/1.tar.gz"})
    wiring.use(found)
    yield found
    wiring.use(None)


def serve(services: MemoryServices, model: str, container: dict[str, Any], endpoint: str = "churn-endpoint") -> None:
    services.sagemaker.ensure_model({"ModelName": model, "PrimaryContainer": container})
    variants = [{"VariantName": "AllTraffic", "ModelName": model}]
    services.sagemaker.ensure_endpoint_config({"EndpointConfigName": model, "ProductionVariants": variants})
    services.sagemaker.ensure_endpoint(endpoint, model)


def write(folder: Path, document: Any, name: str = "monitor.yaml") -> str:
    path = folder / name
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document), encoding="utf-8")
    return str(path)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Exit code 2, nothing on stdout, one line on stderr; the line."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("plumbline: ")
    return err


def nothing_stored(services: MemoryServices) -> bool:
    return not services.ledger.items and not services.objects.objects


# --check --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_check_of_an_example(path: Path, capsys: pytest.CaptureFixture[str]):
    name = yaml.safe_load(path.read_text(encoding="utf-8"))["name"]
    assert main(["add", "--check", str(path)]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == (f"{path}: a valid definition of the monitor {name}\n", "")


@pytest.mark.parametrize("name", ["monitor.yaml", "monitor.json", "monitor"])
def test_check_of_json(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str):
    assert main(["add", "--check", write(tmp_path, json.dumps(DOCUMENT), name)]) == 0
    assert "a valid definition of the monitor churn" in capsys.readouterr().out


def test_json_may_be_indented_with_tabs(tmp_path: Path, services: MemoryServices):
    """Tabs are no YAML."""
    document = {**DOCUMENT, "schedules": ["\U0001f600"]}
    assert main(["add", write(tmp_path, json.dumps(document, indent="\t"), "monitor.json")]) == 0
    assert services.definitions.get("churn").schedules == ("\U0001f600",)


def test_check_needs_no_account(tmp_path: Path):
    wiring.use(None)
    assert main(["add", "--check", write(tmp_path, DOCUMENT)]) == 0


@pytest.mark.parametrize(
    "changes, line",
    [
        ({"endpont": "x"}, "plumbline: endpont: got 'an unknown field'; expected did you mean endpoint?"),
        ({"name": "Churn!"}, "plumbline: name: got 'Churn!'; expected 1-40 lower-case letters"),
        ({"policy": {"cost": "much"}}, "plumbline: policy.cost: got 'a text'; expected a number"),
        ({"window": {"length": "PT7H"}}, "plumbline: window.length: got 'PT7H'; expected 1, 2, 3"),
        ({"capture_s3_uri": "here"}, "plumbline: capture_s3_uri: got 'here'; expected an S3 URI"),
    ],
)
def test_check_of_a_bad_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], services: MemoryServices, changes: dict[str, Any], line: str
):
    path = write(tmp_path, {**DOCUMENT, **changes})
    assert refused(capsys, "add", "--check", path).startswith(line)
    assert refused(capsys, "add", path).startswith(line)
    assert nothing_stored(services)


@pytest.mark.parametrize(
    "text, where",
    [
        ("name: [churn\nendpoint: x\n", "line 2"),
        ("name: churn\n\tendpoint: x\n", "line 2"),
        ("name: 2026-99-99\n", "monitor.yaml"),
        ("? [a]\n: b\n", "line 1"),
        ("&a [*a, *b]", "line 1"),
        ("!!python/object/apply:os.getcwd []", "line 1"),
        ("[" * 5000, "monitor.yaml"),
    ],
)
def test_text_that_is_no_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, where: str):
    err = refused(capsys, "add", "--check", write(tmp_path, text))
    assert where in err and "expected YAML or JSON" in err and err.count("\n") == 1


def test_a_key_that_comes_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    err = refused(capsys, "add", "--check", write(tmp_path, "name: a\nendpoint: b\nname: c\n"))
    assert "line 3" in err and "name comes twice" in err


def test_an_empty_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert "the file is empty" in refused(capsys, "add", "--check", write(tmp_path, "# nothing\n"))


@pytest.mark.parametrize(
    "text, where", [('{"name": "churn",\n"endpoint" 1}', "line 2"), ("", "line 1"), ("name: x", "line 1")]
)
def test_text_that_is_no_json(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, where: str):
    err = refused(capsys, "add", "--check", write(tmp_path, text, "monitor.json"))
    assert where in err and err.endswith("expected YAML or JSON\n")


def test_a_file_that_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "monitor.yaml"
    path.write_bytes(b"name: \xff\xfe")
    assert "expected YAML or JSON" in refused(capsys, "add", "--check", str(path))


@pytest.mark.parametrize("text", ["just words", "- a\n- b\n"])
def test_yaml_that_is_no_mapping(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str):
    assert "expected a mapping of fields" in refused(capsys, "add", "--check", write(tmp_path, text))


def test_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert "expected a file that can be read" in refused(capsys, "add", "--check", str(tmp_path / "missing.yaml"))
    assert "expected a file that can be read" in refused(capsys, "add", "--check", str(tmp_path))


# The account ----------------------------------------------------------------------------------------------------------


def test_add(tmp_path: Path, capsys: pytest.CaptureFixture[str], services: MemoryServices):
    assert main(["add", write(tmp_path, DOCUMENT)]) == 0
    entry = monitors.get(services.ledger, "churn")
    assert entry is not None and entry.since == "2026-01-05T12:00:00Z"
    expected = f"added churn, version {entry.version}; windows from 2026-01-05T12:00:00Z on are evaluated\n"
    assert capsys.readouterr() == (expected, "")
    assert services.definitions.get("churn").endpoint == "churn-endpoint"
    assert [each.name for each in services.definitions.find("endpoint", "churn-endpoint")] == ["churn"]


def test_the_model_that_serves_is_the_first_champion(tmp_path: Path, services: MemoryServices):
    main(["add", write(tmp_path, DOCUMENT)])
    champion = champions.load_champion(services.ledger, "churn")
    assert champion is not None and (champion.generation, champion.config_name) == (0, "churn-1")
    assert champion.candidate == champions.Candidate(
        name="churn-1", model_name="churn-1", model_data="s3://models/1.tar.gz"
    )


def test_a_model_from_a_package_keeps_its_package(tmp_path: Path, services: MemoryServices):
    arn = services.sagemaker.add_model_package("churn", model_data_url="s3://models/7.tar.gz")
    serve(services, "packaged", {"ModelPackageName": arn}, "other-endpoint")
    main(["add", write(tmp_path, {**DOCUMENT, "endpoint": "other-endpoint"})])
    champion = champions.load_champion(services.ledger, "churn")
    assert champion is not None
    assert (champion.candidate.package_arn, champion.candidate.model_data) == (arn, "s3://models/7.tar.gz")


def test_of_several_containers_the_first_has_the_model(tmp_path: Path, services: MemoryServices):
    containers = [{"ModelDataUrl": "s3://models/first.tar.gz"}, {"ModelDataUrl": "s3://models/second.tar.gz"}]
    services.sagemaker.ensure_model({"ModelName": "chain", "Containers": containers})
    variants = [{"VariantName": "AllTraffic", "ModelName": "chain"}]
    services.sagemaker.ensure_endpoint_config({"EndpointConfigName": "chain", "ProductionVariants": variants})
    services.sagemaker.ensure_endpoint("chained", "chain")
    main(["add", write(tmp_path, {**DOCUMENT, "endpoint": "chained"})])
    champion = champions.load_champion(services.ledger, "churn")
    assert champion is not None and champion.candidate.model_data == "s3://models/first.tar.gz"


def test_adding_again_changes_nothing(tmp_path: Path, services: MemoryServices):
    path = write(tmp_path, DOCUMENT)
    main(["add", path])
    before, objects = dict(services.ledger.items), dict(services.objects.objects)
    assert main(["add", path]) == 0
    assert (services.ledger.items, services.objects.objects) == (before, objects)


def test_a_changed_definition_is_a_new_version_and_the_champion_stays(tmp_path: Path, services: MemoryServices):
    main(["add", write(tmp_path, DOCUMENT)])
    champion = champions.load_champion(services.ledger, "churn")
    serve(services, "churn-2", {"ModelDataUrl": "s3://models/2.tar.gz"})
    assert main(["add", write(tmp_path, {**DOCUMENT, "policy": {"cost": 0.5}})]) == 0
    assert services.definitions.get("churn").policy.cost == 0.5
    assert champions.load_champion(services.ledger, "churn") == champion


def test_one_monitor_retrains_for_a_variant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], services: MemoryServices
):
    services.sagemaker.add_pipeline("retraining", {"Manifest": None})
    retraining = {
        "pipeline_name": "retraining",
        "output_uri": "s3://reports/retraining",
        "parameters": {"Manifest": "{manifest_uri}"},
    }
    main(["add", write(tmp_path, {**DOCUMENT, "retraining": retraining})])
    capsys.readouterr()
    second = {**DOCUMENT, "name": "second", "retraining": retraining}
    err = refused(capsys, "add", write(tmp_path, second))
    assert "retraining: got 'retraining'; expected no pipeline, for" in err
    assert "churn retrains for churn-endpoint/AllTraffic already" in err
    assert main(["add", write(tmp_path, {**second, "policy": {"retrain": False}})]) == 0


def test_an_unknown_endpoint_stores_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], services: MemoryServices
):
    err = refused(capsys, "add", write(tmp_path, {**DOCUMENT, "endpoint": "nobody"}))
    assert err == "plumbline: endpoint: got 'nobody'; expected an endpoint that exists in this account\n"
    assert nothing_stored(services)


def test_an_unknown_variant_stores_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], services: MemoryServices
):
    err = refused(capsys, "add", write(tmp_path, {**DOCUMENT, "variant": "Blue"}))
    assert err == "plumbline: variant: got 'Blue'; expected a variant of churn-endpoint: AllTraffic\n"
    assert nothing_stored(services)


@pytest.mark.parametrize(
    "changes, field, stored",
    [
        ({"endpoint": "other-endpoint"}, "endpoint", "'churn-endpoint'"),
        ({"variant": "Blue"}, "variant", "'AllTraffic'"),
        ({"window": {"length": "P1D"}}, "window.length", "'PT1H'"),
    ],
)
def test_a_name_stays_with_its_endpoint_and_its_windows(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    services: MemoryServices,
    changes: dict[str, Any],
    field: str,
    stored: str,
):
    main(["add", write(tmp_path, DOCUMENT)])
    capsys.readouterr()
    before, objects = dict(services.ledger.items), dict(services.objects.objects)
    err = refused(capsys, "add", write(tmp_path, {**DOCUMENT, **changes}))
    assert err.startswith(f"plumbline: {field}: got ") and stored in err and "another name" in err
    assert (services.ledger.items, services.objects.objects) == (before, objects)


def test_another_spelling_of_the_window_length_is_no_other_length(tmp_path: Path, services: MemoryServices):
    main(["add", write(tmp_path, DOCUMENT)])
    assert main(["add", write(tmp_path, {**DOCUMENT, "window": {"length": "PT60M"}})]) == 0


@pytest.mark.parametrize("arguments", [[], ["add"], ["delete", "x"], ["add", "a", "b"], ["explain"]])
def test_bad_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2 and "usage: plumbline" in capsys.readouterr().err


def test_an_error_of_aws_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class NoCredentials:
        def __getattr__(self, name: str) -> object:
            from botocore.exceptions import NoCredentialsError

            raise NoCredentialsError

    wiring.use(NoCredentials())  # type: ignore[arg-type]
    try:
        assert main(["add", "examples/electricity/monitor.yaml"]) == 1
    finally:
        wiring.use(None)
    assert capsys.readouterr().err == (
        "plumbline: AWS: Unable to locate credentials; "
        "next: sign in (`aws sso login`, `aws configure`) or set AWS_PROFILE\n"
    )
