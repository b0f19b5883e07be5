"""What the OpenAPI document says of bodies and answers: schemas made from the specs, and an example for each."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel

from mg_tui.api.examples import ERRORS, EXAMPLES, REQUESTS
from mg_tui.core.evaluation_spec import EvaluationSpec
from mg_tui.core.options import Option, options_of
from mg_tui.core.request_body import GROUP, MODEL_TYPE, MODEL_TYPES
from mg_tui.core.serve_spec import ServeSpec
from mg_tui.core.spec import TrainingSpec
from mg_tui.gate import openai_error, problem
from mg_tui.gate.refusals import PROBLEM_TYPE

_JSON: Final = "application/json"
# What the gate answers on every route, and what every route may.
_GATE_ERRORS: Final = (400, 401, 403, 404, 405, 408, 413, 415, 421, 422, 429, 503)
_BYTES: Final = "application/octet-stream"
_EVENTS: Final = "text/event-stream"
_TEXT: Final = {"type": "string"}
_FAULT: Final = {
    "type": "object",
    "properties": {
        "pointer": {"type": "string", "description": "A JSON pointer into the body."},
        "parameter": {"type": "string", "description": "The name of a parameter of the address, or of a header."},
        "got": {"description": "What was given."},
        "accepted": {"type": "string", "description": "What would be accepted."},
    },
}
_NUMBER_OR_TEXT: Final = {"type": ["number", "string", "null"], "description": 'NaN and infinities are "nan", "inf".'}
_ALWAYS: Final = ("object", "id", "data", "has_more", "state", "status")  # in every answer of a kind that has them
_OPTION_TYPES: Final = {"integer": "integer", "number": "number", "switch": "boolean", "list": "array"}

LAUNCH_PROPERTIES: Final[Mapping[str, Any]] = {
    "gpus": {"type": ["string", "null"], "description": "nvidia-smi indices (0,1), all, any, or cpu."},
    "queue": {"type": ["boolean", "null"], "description": "Wait in the queue for a free device. Default: true."},
    "preset": {"type": ["string", "null"], "description": "A preset whose values the body overrides."},
}

SCHEMAS: Final[Mapping[str, Any]] = {
    "Problem": {
        "type": "object",
        "description": "Problem details, RFC 9457.",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "description": "urn:model-garden:problem: and a code."},
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
            "instance": _TEXT,
            "hint": {"type": "string", "description": "What to try."},
            "errors": {
                "type": "array",
                "items": _FAULT,
                "description": "Places in the body, or bad rows of a dataset.",
            },
        },
    },
    "OpenAIError": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "code", "param"],
                "properties": {
                    "message": _TEXT,
                    "type": _TEXT,
                    "code": {"type": ["string", "null"]},
                    "param": {"type": ["string", "null"]},
                },
            }
        },
    },
}


def answers(
    example: str | None, *errors: int, status: int = 200, openai: bool = False
) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: what it answers, by the name of an example, and its errors."""
    good: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if example is not None:
        value = EXAMPLES[example]
        good["content"] = {_JSON: {"schema": schema_of(value), "example": value}}
    found: dict[int | str, dict[str, Any]] = {
        code: _error(code, openai=openai) for code in sorted({*errors, *_GATE_ERRORS})
    }
    return {status: good, **found}


def event_stream(example: str, *errors: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that streams server-sent events."""
    found = answers(None, *errors)
    found[200]["content"] = {_EVENTS: {"schema": _TEXT, "example": EXAMPLES[example]}}
    return found


def file_answer(*errors: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that sends a file, whole or a range of it."""
    found = answers(None, *errors, openai=True)
    schema = {"type": "string", "format": "binary"}
    for status in (200, 206):
        found[status]["content"] = {_BYTES: {"schema": schema, "example": '{"text": "What is it?", ...}'}}
    return found


def job_body() -> dict[str, Any]:
    """The body of a new job, for `openapi_extra`."""
    return _request(body_schema(TrainingSpec, model_type=True), REQUESTS["job"])


def rerun_body() -> dict[str, Any]:
    """The body of a rerun: options that differ."""
    return _request({**body_schema(TrainingSpec, model_type=True), "required": []}, REQUESTS["rerun"], required=False)


def estimate_body() -> dict[str, Any]:
    """The body of an estimate: a job's, whose dataset may be left out."""
    return _request({**body_schema(TrainingSpec, model_type=True), "required": ["base_model"]}, REQUESTS["estimate"])


def evaluation_body() -> dict[str, Any]:
    """The body of a new evaluation."""
    schema = body_schema(EvaluationSpec)
    own = {"model": _TEXT, "name": {"type": ["string", "null"]}, "gpus": LAUNCH_PROPERTIES["gpus"]}
    return _request(
        {**schema, "properties": {**schema["properties"], **own}, "required": ["model", "dataset"]},
        REQUESTS["evaluation"],
    )


def model_job_body(kind: type[BaseModel], example: str) -> dict[str, Any]:
    """The body of a merge or an export."""
    schema = body_schema(kind)
    own = {"model": _TEXT, "name": {"type": ["string", "null"]}}
    required = ["model", *(opt.name for opt in options_of(kind) if opt.required)]
    return _request({**schema, "properties": {**schema["properties"], **own}, "required": required}, REQUESTS[example])


def serve_body() -> dict[str, Any]:
    """The body of a new server."""
    schema = body_schema(ServeSpec)
    models = {"type": ["array", "string"], "items": _TEXT, "description": "Each MODEL or NAME=MODEL."}
    own = {"models": models, "name": {"type": ["string", "null"]}, "gpus": LAUNCH_PROPERTIES["gpus"]}
    return _request(
        {**schema, "properties": {**schema["properties"], **own}, "required": ["models"]}, REQUESTS["serve"]
    )


def fine_tuning_body() -> dict[str, Any]:
    """The body of OpenAI's fine-tuning job: its own fields, and every option of a run beside them."""
    text = {"type": ["string", "null"]}
    own = {
        "model": _TEXT,
        "training_file": {"type": "string", "description": "The id of an uploaded file."},
        "validation_file": text,
        "suffix": text,
        "seed": {"type": ["integer", "null"]},
        "method": {"type": ["object", "null"], "description": "type supervised, and its hyperparameters."},
        "hyperparameters": {
            "type": ["object", "null"],
            "description": "n_epochs, batch_size, learning_rate_multiplier.",
        },
    }
    options = {name: value for name, value in body_schema(TrainingSpec)["properties"].items() if name not in own}
    schema = {"type": "object", "properties": {**options, **own}, "required": ["model", "training_file"]}
    return _request(schema, REQUESTS["fine_tuning_job"])


def dataset_body(example: str) -> dict[str, Any]:
    """The body of a request about a dataset: the options that decide how it is read."""
    options = [opt for opt in options_of(TrainingSpec) if opt.group == "Data" or opt.name in ("base_model", "revision")]
    properties = {opt.name: _property(opt) for opt in options}
    properties["row"] = {"type": "integer", "minimum": 1, "description": "The number of a row."}
    properties["headers_only"] = {"type": "boolean", "description": "Read headers of images only."}
    schema = {"type": "object", "properties": properties, "required": ["dataset"], "additionalProperties": False}
    return _request(schema, REQUESTS[example])


def body_schema(model: type[BaseModel], *, model_type: bool = False) -> dict[str, Any]:
    """The JSON schema of a spec as a body: fields, the guide's names for them, and the group of hyperparameters."""
    options = options_of(model)
    own = {opt.name: _property(opt) for opt in options}
    aliases = {opt.alias: {**_property(opt), "description": f"The same as {opt.name}."} for opt in options if opt.alias}
    properties: dict[str, Any] = {**own, **aliases}
    if model_type:
        properties |= LAUNCH_PROPERTIES
        group = {"type": ["object", "null"], "properties": {**own, **aliases}, "additionalProperties": False}
        properties |= {GROUP: group, MODEL_TYPE: {"type": "string", "enum": list(MODEL_TYPES)}}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def schema_of(value: Any) -> dict[str, Any]:
    """A schema that an example fits, and every other answer of its kind: null stands for any value."""
    if isinstance(value, dict):
        always = [name for name in value if name in _ALWAYS]
        properties = {name: schema_of(item) for name, item in value.items()}
        properties |= {name: dict(_TEXT) for name in always if isinstance(value[name], str)}
        for name, item in properties.items():
            if item.get("type") == "object" and name != "links":  # as the metrics of an evaluation that has none yet
                properties[name] = {**item, "type": ["object", "null"]}
        if "object" in properties:
            properties["object"] = {"const": value["object"]}
        return {"type": "object", "properties": properties, "required": always}
    if isinstance(value, list):
        return {"type": "array", "items": schema_of(value[0]) if value else {}}
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int):
        return {"type": ["integer", "null"]}
    if isinstance(value, float):
        return dict(_NUMBER_OR_TEXT)
    return {"type": ["string", "null"]} if isinstance(value, str) else {}


def _property(opt: Option) -> dict[str, Any]:
    kind = _OPTION_TYPES.get(opt.kind, "string")
    # Numbers and switches may be written as text, as in a file.
    schema: dict[str, Any] = {"title": opt.title, "description": opt.help}
    if opt.kind == "choice" and not opt.optional:
        schema["enum"] = list(opt.choices)
    elif opt.kind == "list":
        schema |= {"type": [kind, "string"], "items": _TEXT}
    else:
        schema["type"] = (
            [kind, "string", *(["null"] if opt.optional else [])] if kind != "string" else ["string", "null"]
        )
    if opt.default not in (None, "", ()):
        # Not as `default`: garden.toml or the run that is repeated may have another, and clients would send this one.
        schema["description"] = f"{opt.help} Usually {_shown(opt.default)}."
    return schema


def _shown(default: Any) -> str:
    values = default if isinstance(default, tuple) else (default,)
    return ", ".join(value if isinstance(value, str) else json.dumps(value) for value in values)


def _request(schema: dict[str, Any], example: Any, *, required: bool = True) -> dict[str, Any]:
    return {"requestBody": {"required": required, "content": {_JSON: {"schema": schema, "example": example}}}}


def _error(status: int, *, openai: bool) -> dict[str, Any]:
    phrase = HTTPStatus(status).phrase
    if status in (204, 304):
        return {"description": phrase}
    code, detail = ERRORS[status]
    example = openai_error(status, code, detail) if openai else problem(status, code, detail)
    name, media = ("OpenAIError", _JSON) if openai else ("Problem", PROBLEM_TYPE)
    return {
        "description": phrase,
        "content": {media: {"schema": {"$ref": f"#/components/schemas/{name}"}, "example": example}},
    }
