"""`/models`: list, and generate, merge and export, each in an engine process whose progress is streamed."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel, ConfigDict, Field

from mg_tui.api import docs
from mg_tui.api.access import NATIVE
from mg_tui.api.engine_stream import EngineRequest, stream_engine
from mg_tui.api.garden import Garden, GardenOf
from mg_tui.api.resources import json_answer, list_body
from mg_tui.runs.results import Result, find_results

router = APIRouter(prefix=f"{NATIVE}/models", tags=["models"])

_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_MAX_TEXT: Final = 200_000
ModelName = Annotated[str, Field(min_length=1, max_length=4096, description="A result, a run, RUN@STEP, a base model.")]
Device = Literal["auto", "cuda", "cpu"]
Dtype = Literal["auto", "bfloat16", "float16", "float32"]


class GenerateBody(BaseModel):
    """A question about images."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"model": "tiny", "prompt": "What is it?", "images": ["./data/images/1.png"]}},
    )

    model: ModelName
    prompt: Annotated[str, Field(max_length=_MAX_TEXT)]
    images: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(min_length=1, max_length=32)]
    system_prompt: Annotated[str | None, Field(max_length=_MAX_TEXT)] = None
    max_new_tokens: Annotated[int, Field(ge=1, le=32_768)] = 512
    temperature: Annotated[float, Field(ge=0, le=100)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Annotated[int | None, Field(ge=0, lt=1 << 63)] = None
    base_model: ModelName | None = None
    device: Device = "auto"
    dtype: Dtype = "auto"
    quantization: Literal["auto", "nf4", "int8", "none"] = "auto"


class MergeBody(BaseModel):
    """An adapter to merge into its base model."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"model": "./models/mine", "output": "./models/mine-merged"}}
    )

    model: ModelName
    output: Annotated[str, Field(min_length=1, max_length=4096, description="A new or empty folder in a root.")]
    base_model: ModelName | None = None
    device: Device = "cpu"
    dtype: Dtype = "auto"


class ExportBody(MergeBody):
    """A result to export for another program."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"model": "./models/mine", "output": "./exports/mine", "format": "vllm"}},
    )

    format: Literal["merged", "vllm"]
    merged: bool = False
    dataset: Annotated[str | None, Field(min_length=1, max_length=4096)] = None
    rows: Annotated[int, Field(ge=1, le=10_000)] = 16
    max_new_tokens: Annotated[int, Field(ge=1, le=32_768)] = 128
    min_agreement: Annotated[float, Field(gt=0, le=1)] = 1.0


@router.get("", summary="Results, and base models on this machine", responses=docs.answers("model_list", 401))
def list_models(garden: GardenOf) -> Response:
    from mg_tui.families import hub
    from mg_tui.families.registry import load_registry

    results = [_result(result) for result in find_results(garden.home)]
    known = [
        {"object": "model", "id": item.name, "kind": "base", "title": item.title, "parameters": item.parameters}
        for item in load_registry().checkpoints
        if item.name == "tiny" or hub.cached_snapshot(item.name) is not None
    ]
    return json_answer(list_body([*results, *known], has_more=False))


@router.post(
    "/generate",
    summary="Answer a question about images",
    responses=docs.event_stream("engine_events", 401, 403, 422, 429),
)
async def generate(garden: GardenOf, body: GenerateBody) -> Response:
    _require_models(garden, body.model, body.base_model)
    images = [_image(garden, image) for image in body.images]
    values = body.model_dump()
    loading = {name: values.pop(name) for name in ("model", "base_model", "device", "dtype", "quantization")}
    values["images"] = images
    requests: list[EngineRequest] = [("load", {**loading, "home": str(garden.home)}), ("generate", values)]
    return await _streamed(garden, "mg_tui.engine.inference.generate", requests)


@router.post(
    "/merge",
    summary="Merge an adapter into its base model",
    responses=docs.event_stream("engine_events", 401, 403, 422, 429),
)
async def merge(garden: GardenOf, body: MergeBody) -> Response:
    return await _streamed(garden, "mg_tui.engine.results.merge", [("merge", _places(garden, body))])


@router.post(
    "/export",
    summary="Export a result for other programs",
    responses=docs.event_stream("engine_events", 401, 403, 422, 429),
)
async def export(garden: GardenOf, body: ExportBody) -> Response:
    if body.dataset is not None:
        garden.paths.require(body.dataset, "dataset")
    values = {**_places(garden, body), "cache": str(garden.settings.cache), "cwd": str(garden.cwd)}
    return await _streamed(garden, "mg_tui.engine.export.export", [("export", values)])


def _places(garden: Garden, body: MergeBody) -> dict[str, Any]:
    _require_models(garden, body.model, body.base_model)
    output = garden.paths.require(body.output, "output")
    return {**body.model_dump(), "output": str(output), "home": str(garden.home)}


def _require_models(garden: Garden, *models: str | None) -> None:
    for model in models:
        if model is not None:
            garden.paths.require_model(model)


def _image(garden: Garden, image: str) -> str:
    """The file of an image: a path in a root, or a public address, which is downloaded.

    Raises:
        ImageError: it is neither, or no image.
    """
    from mg_tui.data.image_resolver import ImageResolver
    from mg_tui.data.images import ImageError, probe_image

    resolver = ImageResolver(garden.cwd, None, garden.cwd, garden.settings.cache, policy=garden.paths.policy)
    try:
        path = resolver.resolve(image).ref.path
        probe_image(path)
    except ImageError as error:
        if error.what.startswith("the image "):
            error.what = f"images: {error.reason}"
        raise
    return path


async def _streamed(garden: Garden, program: str, requests: list[EngineRequest]) -> Response:
    return EventSourceResponse(await stream_engine(garden, program, requests), headers=_HEADERS)


def _result(result: Result) -> dict[str, Any]:
    return {
        "object": "model",
        "id": str(result.folder),
        "kind": result.kind,
        "base": result.base or None,
        "run": result.run,
        "name": result.name,
        "dataset": result.dataset,
        "created_at": result.created,
        "bytes": result.bytes,
        "training": dict(result.training),
        "problem": result.problem,
    }
