"""`/models`: list, and generate, in an engine process whose answer is streamed."""

import asyncio
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from mg_tui.api import docs
from mg_tui.api.access import NATIVE
from mg_tui.api.engine_stream import EngineRequest, stream_engine
from mg_tui.api.garden import Garden, GardenOf
from mg_tui.api.resources import json_answer, list_body
from mg_tui.runs.results import Result, find_results

router = APIRouter(prefix=f"{NATIVE}/models", tags=["models"])

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
    images = await asyncio.to_thread(lambda: [_image(garden, image) for image in body.images])
    values = body.model_dump()
    loading = {name: values.pop(name) for name in ("model", "base_model", "device", "dtype", "quantization")}
    values["images"] = images
    requests: list[EngineRequest] = [("load", {**loading, "home": str(garden.home)}), ("generate", values)]
    return await stream_engine(garden, "mg_tui.engine.inference.generate", requests)


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
