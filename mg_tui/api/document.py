"""The OpenAPI document as generators of clients want it: short unique operation ids, and every schema with a name."""

import re
from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from mg_tui.api import docs
from mg_tui.api.access import API_RULES, NATIVE, OPENAI
from mg_tui.api.examples import EXAMPLES
from mg_tui.core.request_body import GROUP
from mg_tui.gate.rules import FORM_TYPE

_COMPONENTS: Final = "#/components/schemas/"
_OPTIONS: Final = "TrainingOptions"
# What has an id, by its path; the last word is the name of one, except where two would have the same.
_NAMED: Final = {f"{NATIVE}/models/jobs": "model_job", f"{OPENAI}/fine_tuning/jobs": "fine_tuning_job"}
_COLLECTIONS: Final = sorted({rule.path.partition("/{")[0] for rule in API_RULES if "{" in rule.path}, key=len)
# Of answers, where the name of the example would not say what it is.
_ANSWER_NAMES: Final = {
    "file": "UploadedFile",
    "request": "RunRequest",
    "metrics": "JobMetrics",
    "check": "DatasetReport",
}


def operation_id(route: APIRoute) -> str:
    """What a route is called in a client: `job_create`, `evaluation_rows`, `devices`."""
    path = route.path_format
    collection = max((one for one in _COLLECTIONS if path == one or path.startswith(f"{one}/")), key=len, default=None)
    if collection is None:
        segment = path.removeprefix(NATIVE).removeprefix(OPENAI).split("/")[1]
        noun = segment.removesuffix("s")
        if route.name == segment or route.name.startswith(f"{noun}_"):
            return route.name
    else:
        noun = _NAMED.get(collection) or collection.rpartition("/")[2].removesuffix("s")
    verb = "list" if route.name.startswith("list_") else route.name
    return noun if verb == noun else f"{noun}_{verb}"


def make_document(app: FastAPI) -> dict[str, Any]:
    """The document of an application."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        description="Fine-tune vision-language models. docs/api.md has the same with curl.",
        routes=app.routes,
    )
    components = document.setdefault("components", {})
    schemas: dict[str, Any] = components.setdefault("schemas", {})
    schemas.update(docs.SCHEMAS)
    for unused in ("HTTPValidationError", "ValidationError"):  # of the framework, which are never sent
        schemas.pop(unused, None)
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    for operation in _operations(document):
        _drop_default_answers(operation)
        _name_answers(operation, schemas)
        _name_body(operation, schemas)
    return document


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        yield from item.values()


def _drop_default_answers(operation: dict[str, Any]) -> None:
    """The framework adds an answer of any JSON to every route; ours have schemas and examples."""
    for answer in operation["responses"].values():
        content = answer.get("content", {})
        if "example" not in content.get("application/json", {"example": None}):
            del content["application/json"]


def _name_answers(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Move the schemas of answers to the components, under the names of their examples."""
    for answer in operation["responses"].values():
        for media in answer.get("content", {}).values():
            found = _find_example(media.get("example"))
            if found is not None:
                name, media["example"] = found
                schemas[name] = _with_named_items(media["schema"], media["example"])
                media["schema"] = {"$ref": _COMPONENTS + name}


def _find_example(example: Any) -> tuple[str, Any] | None:
    """The name of an answer's schema, and its example with the nulls, which the framework leaves out."""
    if not isinstance(example, dict):
        return None
    wanted = _without_nulls(example)
    for name, one in EXAMPLES.items():
        if _without_nulls(one) == wanted:
            return _ANSWER_NAMES.get(name) or _camel(name), one
    return None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _with_named_items(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    """The schema of a page refers to that of its items."""
    data = example.get("data")
    found = _find_example(data[0]) if isinstance(data, list) and data else None
    if found is None:
        return schema
    items = {"type": "array", "items": {"$ref": _COMPONENTS + found[0]}}
    return {**schema, "properties": {**schema["properties"], "data": items}}


def _name_body(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Move the schema of a body to the components, under the name of its operation."""
    name = f"{_camel(operation['operationId'])}Body"
    content = operation.get("requestBody", {}).get("content", {})
    form = schemas.pop(f"Body_{operation['operationId']}", None)  # the framework's name
    if form is not None:
        for field in form["properties"].values():
            if "contentMediaType" in field:
                field["format"] = "binary"  # as generators know a file
        schemas[name] = {**form, "title": name}
        content[FORM_TYPE]["schema"] = {"$ref": _COMPONENTS + name}
    media = content.get("application/json", {})
    schema = media.get("schema", {})
    if "properties" not in schema:
        return
    schema.pop("anyOf", None)  # the framework's word for a body that may be left out
    group = schema["properties"].get(GROUP)
    if group is not None and "properties" in group:
        schemas[_OPTIONS] = {**group, "type": "object", "title": _OPTIONS}
        schema["properties"][GROUP] = {"anyOf": [{"$ref": _COMPONENTS + _OPTIONS}, {"type": "null"}]}
    schemas[name] = {**schema, "title": name}
    media["schema"] = {"$ref": _COMPONENTS + name}


def _camel(name: str) -> str:
    return re.sub(r"(?:^|_)(\w)", lambda found: found[1].upper(), name)
