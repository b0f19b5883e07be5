"""The OpenAPI document: valid, with a name for everything that a generated client names; and such a client at work."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from openapi_spec_validator import OpenAPIV31SpecValidator

from mg_tui.api.app import create_app
from mg_tui.api.document import operation_id
from mg_tui.api.examples import EXAMPLES, REQUESTS
from mg_tui.core.spec import TrainingSpec
from tests.api.conftest import Server

GENERATOR = "openapi-python-client==0.29.1"  # wants an older typer than our dependencies do
USE = Path(__file__).parent / "generated_client.py"


@pytest.fixture
def document(garden) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(create_app(garden).openapi()))
    return document


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        yield from item.values()


def test_it_is_valid(document) -> None:
    errors = [
        f"{list(error.absolute_path)}: {error.message}" for error in OpenAPIV31SpecValidator(document).iter_errors()
    ]
    assert not errors and document["openapi"].startswith("3.1")


def test_operations_have_short_names_of_their_own(document) -> None:
    names = [operation["operationId"] for operation in _operations(document)]
    assert len(names) == len(set(names))
    assert not [name for name in names if not name.replace("_", "").isalpha() or len(name) > 40 or "api_v1" in name]
    assert {"job_create", "job_list", "trash_restore", "model_job_stop", "devices", "fine_tuning_job_pause"} <= {*names}


@pytest.mark.parametrize(
    ("path", "name", "expected"),
    [
        ("/api/v1/training/jobs", "list_jobs", "job_list"),
        ("/api/v1/training/jobs/{job_id}/checkpoints/{step}", "delete_checkpoint", "job_delete_checkpoint"),
        ("/api/v1/models/jobs/{job_id}", "show", "model_job_show"),
        ("/api/v1/models/merge", "merge", "model_merge"),
        ("/api/v1/devices", "devices", "devices"),
        ("/api/v1/devices/sample", "device_sample", "device_sample"),
    ],
)
def test_the_name_of_an_operation(path, name, expected) -> None:
    assert operation_id(APIRoute(path, lambda: None, name=name)) == expected


def test_bodies_and_answers_have_named_schemas(document) -> None:
    for operation in _operations(document):
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for part in (*bodies, *operation["responses"].values()):
            for kind, media in part.get("content", {}).items():
                schema = media["schema"]
                if "json" in kind or "form" in kind:
                    named = schema.get("$ref") or next(one["$ref"] for one in schema["anyOf"] if "$ref" in one)
                    assert named.rpartition("/")[2] in document["components"]["schemas"], operation["operationId"]
                else:
                    assert schema["type"] == "string", operation["operationId"]


def test_what_succeeds_says_what_it_answers(document) -> None:
    for operation in _operations(document):
        for code, answer in operation["responses"].items():
            if code not in ("204", "304"):
                assert answer.get("content"), (operation["operationId"], code)


def test_examples_are_whole(document) -> None:
    """Also where a value is null, which the framework leaves out."""
    schemas = document["components"]["schemas"]
    operation = document["paths"]["/api/v1/models/jobs/{job_id}"]["get"]
    answer = operation["responses"]["200"]["content"]["application/json"]
    assert answer == {"schema": {"$ref": "#/components/schemas/ModelJob"}, "example": EXAMPLES["model_job"]}
    assert answer["example"]["error"] is None and "error" in schemas["ModelJob"]["properties"]
    page = schemas["ModelJobList"]["properties"]
    assert page["data"]["items"] == {"$ref": "#/components/schemas/ModelJob"}
    assert page["object"] == {"const": "list"} and schemas["Job"]["properties"]["id"] == {"type": "string"}
    group = schemas["JobCreateBody"]["properties"]["hyperparameters"]
    assert group["anyOf"][0] == {"$ref": "#/components/schemas/TrainingOptions"}
    assert schemas["FileUploadBody"]["properties"]["file"]["format"] == "binary"
    assert schemas["JobRerunBody"]["properties"].keys() == schemas["JobCreateBody"]["properties"].keys()


def test_options_have_no_default_that_a_client_would_send(document) -> None:
    """garden.toml may have another, and so may the job that is run again."""
    for name in ("JobCreateBody", "JobRerunBody", "TrainingOptions", "EvaluationCreateBody", "DatasetCheckBody"):
        properties = document["components"]["schemas"][name]["properties"]
        assert not [option for option, schema in properties.items() if "default" in schema], name
    optimizer = document["components"]["schemas"]["TrainingOptions"]["properties"]["optimizer"]
    assert optimizer["description"].endswith(f"Usually {TrainingSpec.model_fields['optimizer'].default}.")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_client_made_from_it_has_types_and_works(server: Server, tmp_path: Path) -> None:
    """By the command of docs/api.md. Its own `client.py` passes *args in a way that mypy refuses."""
    command = [
        "uvx",
        "--from",
        GENERATOR,
        "openapi-python-client",
        "generate",
        "--url",
        f"{server.url}/api/v1/openapi.json",
    ]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert made.returncode == 0 and "Warning" not in made.stdout + made.stderr, made.stdout + made.stderr
    package = tmp_path / "model-garden-client" / "model_garden_client"
    assert (package / "py.typed").is_file()
    settings = tmp_path / "mypy.ini"
    settings.write_text("[mypy]\nstrict = true\n[mypy-model_garden_client.client]\ndisable_error_code = arg-type\n")
    where = {**os.environ, "PYTHONPATH": str(package.parent), "MYPYPATH": str(package.parent)}
    check = [sys.executable, "-m", "mypy", "--config-file", str(settings), "--no-incremental", str(package), str(USE)]
    checked = subprocess.run(check, cwd=tmp_path, env=where, capture_output=True, text=True, timeout=300)
    assert checked.returncode == 0, checked.stdout
    body = {**REQUESTS["job"], "base_model": "tiny", "max_steps": 2, "sample_count": 0}
    used = subprocess.run(
        [sys.executable, USE, server.url, json.dumps(body)], env=where, capture_output=True, text=True, timeout=300
    )
    assert used.returncode == 0, used.stdout + used.stderr
    assert used.stdout.splitlines()[-1] == "done", used.stdout
