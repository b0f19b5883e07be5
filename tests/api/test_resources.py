"""Datasets, evaluations, models and the machine over the API, without training anything."""

import json

import pytest

from mg_tui.core.evaluation_spec import EvaluationSpec
from mg_tui.core.settings import SETTINGS
from mg_tui.runs.evaluations import EvaluationFolder
from mg_tui.runs.journal import JournalWriter

API = "/api/v1"


def test_rows_of_a_dataset_by_pages(client, work) -> None:
    first = client.get(f"{API}/datasets/rows", params={"dataset": "data/rows.jsonl", "limit": 3}).json()
    assert [row["row"] for row in first["data"]] == [1, 2, 3] and first["has_more"] is True
    rest = client.get(f"{API}/datasets/rows", params={"dataset": "data/rows.jsonl", "after": 3}).json()
    assert [row["row"] for row in rest["data"]] == [4] and rest["has_more"] is False
    assert first["data"][0]["values"]["response"] and first["data"][0]["problems"] == []
    far = client.get(f"{API}/datasets/rows", params={"dataset": "data/rows.jsonl", "after": 10**15}).json()
    assert far == {"object": "list", "data": [], "has_more": False}
    (work / "data" / "bad.jsonl").write_text('{"text": "?", "image": "none.png", "response": "x"}\n')
    (row,) = client.get(f"{API}/datasets/rows", params={"dataset": "data/bad.jsonl"}).json()["data"]
    assert "does not exist" in row["problems"][0]["what"]
    missing = client.get(f"{API}/datasets/rows", params={"dataset": "data/none.jsonl"})
    assert missing.status_code == 422 and missing.headers["content-type"] == "application/problem+json"


def test_the_check_of_a_dataset(client, work) -> None:
    report = client.post(f"{API}/datasets/check", json={"dataset": "data/rows.jsonl"}).json()
    assert (report["rows"], report["good_rows"]) == (4, 4)
    (work / "data" / "bad.jsonl").write_text('{"text": "?", "image": "none.png", "response": "x"}\n')
    report = client.post(f"{API}/datasets/check", json={"dataset": "data/bad.jsonl", "headers_only": True}).json()
    assert report["good_rows"] == 0
    for body in ({}, {"dataset": "data/rows.jsonl", "epochs": 1}, {"dataset": "data/rows.jsonl", "row": 0}):
        assert client.post(f"{API}/datasets/check", json=body).status_code == 422


def test_datasets_of_garden_toml_are_listed_and_read_by_name(client, garden, work) -> None:
    garden.settings.datasets["receipts"] = {"path": "data/rows.jsonl"}
    assert [item["name"] for item in client.get(f"{API}/datasets").json()["data"]] == ["receipts"]
    rows = client.get(f"{API}/datasets/rows", params={"dataset": "receipts"}).json()["data"]
    assert len(rows) == 4
    garden.settings.datasets["outside"] = {"path": "/etc"}
    assert client.get(f"{API}/datasets/rows", params={"dataset": "outside"}).status_code == 403


@pytest.fixture
def evaluation(settings, work):
    """An evaluation that somebody else made, with two answered rows."""
    spec = EvaluationSpec(model="tiny", dataset=str(work / "data/rows.jsonl"))
    folder = EvaluationFolder.create(settings.home, spec, cwd=work)
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, host="box", attempt=1, versions={})
        journal.write("step", step=2)
        journal.write("stopped", step=2, by="me")
    from mg_tui.metrics.results.records import AnsweredRow

    folder.results_dir.mkdir()
    lines = [AnsweredRow(row=n, question="?", answer=f"a{n}", references=("a1",), images=()).line() for n in (1, 2)]
    (folder.results_dir / "answers.jsonl").write_bytes(b"".join(lines))
    return folder


def test_an_evaluation_and_its_rows(client, evaluation) -> None:
    (listed,) = client.get(f"{API}/evaluations").json()["data"]
    assert (listed["id"], listed["state"], listed["answered"]) == (evaluation.id, "stopped", 2)
    shown = client.get(f"{API}/evaluations/{evaluation.id}")
    assert shown.json()["spec"]["model"] == "tiny"
    etag = {"If-None-Match": shown.headers["etag"]}
    assert client.get(f"{API}/evaluations/{evaluation.id}", headers=etag).status_code == 304
    page = client.get(f"{API}/evaluations/{evaluation.id}/rows", params={"limit": 1}).json()
    assert page["has_more"] is True and page["data"][0]["answer"] == "a1"
    rest = client.get(f"{API}/evaluations/{evaluation.id}/rows", params={"after": 1}).json()
    assert [row["answer"] for row in rest["data"]] == ["a2"] and rest["has_more"] is False
    assert client.get(f"{API}/evaluations/{evaluation.id}/logs").json()["data"] == []
    assert client.post(f"{API}/evaluations/{evaluation.id}/stop").status_code == 409
    assert client.get(f"{API}/training/jobs/{evaluation.id}").status_code == 404
    assert client.delete(f"{API}/evaluations/{evaluation.id}").status_code == 204
    assert client.get(f"{API}/evaluations").json()["data"] == []


def test_a_bad_evaluation_is_named(client, settings) -> None:
    for body, pointer in (
        ({"model": "tiny"}, "/dataset"),
        ({"model": "tiny", "dataset": "data/rows.jsonl", "limit": 0}, "/limit"),
        ({"model": "tiny", "dataset": "data/rows.jsonl", "nonsense": 1}, "/nonsense"),
    ):
        answer = client.post(f"{API}/evaluations", json=body)
        assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == pointer
    assert not (settings.home / "evaluations").exists()


def test_models_are_results_and_base_models(client, settings, work) -> None:
    folder = work / "models" / "mine"
    folder.mkdir(parents=True)
    listed = client.get(f"{API}/models").json()["data"]
    assert [(model["id"], model["kind"]) for model in listed] == [("tiny", "base")]
    made = settings.home / "models" / "mine"
    made.mkdir(parents=True)
    (made / "model_garden.json").write_text(json.dumps({"kind": "adapter", "base": {"name": "tiny"}}))
    first = client.get(f"{API}/models").json()["data"][0]
    assert (first["id"], first["kind"], first["base"]) == (str(made), "adapter", "tiny")


def test_the_estimate_is_the_commands(client) -> None:
    whole = client.post(f"{API}/estimate", json={"base_model": "tiny", "device": "cpu"}).json()
    assert whole["base_model"] == "tiny" and whole["peak"] > 0 and whole["places"]
    larger = client.post(
        f"{API}/estimate",
        json={"base_model": "tiny", "dataset": "data/rows.jsonl", "train_language": "full", "device": "cpu"},
    ).json()
    assert larger["peak"] != whole["peak"]
    assert client.post(f"{API}/estimate", json={"base_model": "tiny", "batch_size": 0}).status_code == 422


def test_the_machine(client, make_run) -> None:
    make_run()
    health = client.get(f"{API}/health").json()
    assert (health["status"], health["runs"], health["running"], health["queued"]) == ("ok", 1, 0, 0)
    assert client.get("/health").json() == {"status": "ok"}
    devices = client.get(f"{API}/devices").json()["data"]
    assert devices and all({"name", "used_by", "free"} <= device.keys() for device in devices)
    names = [plugin["name"] for plugin in client.get(f"{API}/plugins").json()["data"]]
    assert "qwen2_5_vl" in names
    settings = client.get(f"{API}/settings").json()["data"]
    assert [item["id"] for item in settings] == [setting.id for setting in SETTINGS]


def test_the_document_has_an_example_for_every_request_and_answer(client) -> None:
    document = client.get(f"{API}/openapi.json").json()
    assert document["components"]["schemas"]["Problem"]
    operations = [
        (method, path, operation) for path, item in document["paths"].items() for method, operation in item.items()
    ]
    assert len(operations) >= 45
    for method, path, operation in operations:
        name = f"{method} {path}"
        assert operation["summary"], name
        for code, answer in operation["responses"].items():
            for media in answer.get("content", {}).values():
                assert "example" in media, (name, code)
        assert {"401", "429"} <= operation["responses"].keys(), name
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body is not None:
            schema = body["schema"]
            reference = schema.get("$ref") or next(
                (one.get("$ref") for one in schema.get("anyOf", ()) if "$ref" in one), None
            )
            component = document["components"]["schemas"][reference.rpartition("/")[2]] if reference else {}
            assert "example" in body or "example" in component, name
