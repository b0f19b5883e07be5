"""EvaluationSpec: everything that decides an evaluation, declared once; faces read it as `mg_tui.core.spec`."""

from typing import Any, Final, Literal, Self

from pydantic import field_validator, model_validator

from mg_tui.core.options import option, split_names
from mg_tui.core.spec import CAPTION_PROMPT, BoxUnits, DatasetFormat, DatasetLayout
from mg_tui.core.spec_base import LoadingSpec

# Compared with: the model itself without its adapter.
BASE: Final = "base"


class EvaluationSpec(LoadingSpec):
    """What an evaluation was asked to be.

    `model` is a result, a run, a checkpoint, a base model or, with `endpoint`, the name under which a server has it.
    A field name that is None is the one the model was trained with, or the usual one.
    """

    model: str
    name: str | None = None

    # --- Model -------------------------------------------------------------------------------------------------------
    compare: str | None = option(
        None,
        title="Compare with",
        help="Also evaluate this model on the same rows: another MODEL, or `base` for the adapter's base model.",
        group="Model",
        basic=True,
        min_length=1,
        example="base",
    )
    endpoint: str | None = option(
        None,
        title="Endpoint",
        help="URL of an OpenAI-compatible server that serves MODEL, e.g. http://localhost:8000/v1. An API key is "
        "read from MODEL_GARDEN_API_KEY.",
        group="Model",
        min_length=1,
        example="http://localhost:8000/v1",
    )
    min_pixels: int | None = option(
        None,
        title="Minimum pixels",
        help="Smaller images are upscaled to this area. Default: as in training; of a base model, its own.",
        group="Model",
        unit="pixels",
        ge=1,
    )
    max_pixels: int | None = option(
        None,
        title="Maximum pixels",
        help="Larger images are downscaled to this area. Default: as in training; of a base model, its own.",
        group="Model",
        unit="pixels",
        ge=1,
    )

    # --- Data --------------------------------------------------------------------------------------------------------
    dataset: str = option(
        title="Dataset",
        help="Rows to evaluate on: a file, a folder, a Hub dataset (owner/name), or a name from [datasets].",
        group="Data",
        basic=True,
        path=True,
        min_length=1,
        example="./data/held_out.jsonl",
        known="datasets",
    )
    split: str | None = option(
        None,
        title="Split",
        help="Split of the dataset. Default: the only one, validation, or test.",
        group="Data",
        basic=True,
        min_length=1,
        example="validation",
    )
    limit: int | None = option(
        None, title="Limit", help="Evaluate only the first N good rows.", group="Data", basic=True, unit="rows", ge=1
    )
    dataset_format: Literal["auto"] | DatasetFormat = option(
        "auto", title="Dataset format", help="File format; auto detects it.", group="Data"
    )
    dataset_layout: Literal["auto"] | DatasetLayout = option(
        "auto", title="Dataset layout", help="Row layout; auto detects it.", group="Data"
    )
    dataset_config: str | None = option(
        None,
        title="Dataset configuration",
        help="Configuration of a Hub dataset, or entry of a dataset_info.json.",
        group="Data",
        min_length=1,
    )
    dataset_encoding: str | None = option(
        None,
        title="Dataset encoding",
        help="Encoding of a text file that is not UTF-8; UTF-16 and UTF-32 are detected.",
        group="Data",
        min_length=1,
        example="latin-1",
    )
    json_field: str | None = option(
        None,
        title="JSON field",
        help="Field of a JSON file's object that holds its list of rows. Default: detected.",
        group="Data",
        min_length=1,
        example="data",
    )
    ignore_column: tuple[str, ...] = option(
        (),
        title="Ignored columns",
        help="Column that rows are read without, or placeholder of another tool, such as <video>, left as text.",
        group="Data",
        example="hint",
    )
    box_format: BoxUnits | None = option(
        None,
        title="Box format",
        help="Write boxes of ms-swift's column objects into questions and references, in pixels of the image as "
        "resized for the model, in thousandths of its sides, or in pixels of the original. Default: as in training.",
        group="Data",
    )
    text_field: str | None = option(
        None, title="Text field", help="Field with the question. Default: as in training.", group="Data", min_length=1
    )
    image_field: str | None = option(
        None,
        title="Image field",
        help="Field with the image: a path or URL. Default: as in training.",
        group="Data",
        min_length=1,
    )
    response_field: str | None = option(
        None,
        title="Response field",
        help="Field with the reference answer, or a list of them. Default: as in training.",
        group="Data",
        min_length=1,
    )
    messages_field: str | None = option(
        None,
        title="Messages field",
        help="Field with the conversation turns. Default: detected.",
        group="Data",
        min_length=1,
    )
    caption_prompt: str = option(
        CAPTION_PROMPT,
        title="Caption prompt",
        help="Question for rows that have only an image and a caption.",
        group="Data",
        min_length=1,
    )
    image_root: str | None = option(
        None,
        title="Image root",
        help="Base folder for relative image paths, after the dataset's own folder.",
        group="Data",
        path=True,
    )
    system_prompt: str | None = option(
        None,
        title="System prompt",
        help="System message of rows without one. Default: the one the model was trained with.",
        group="Data",
    )
    on_bad_row: Literal["stop", "skip"] = option(
        "stop",
        title="On a bad row",
        help="stop: list all bad rows and evaluate nothing. skip: evaluate the others and save these to a file.",
        group="Data",
    )

    # --- Scores ------------------------------------------------------------------------------------------------------
    metrics: tuple[str, ...] = option(
        (),
        title="Metrics",
        help="Names of metrics, separated by commas; see docs/evaluation.md. Default: chosen from the references.",
        group="Scores",
        basic=True,
    )
    group_by: tuple[str, ...] = option(
        (),
        title="Group by",
        help="Dataset columns to group scores by. Default: those with few values.",
        group="Scores",
    )
    boxes: Literal["pixels", "resized", "thousandths", "unit"] | None = option(
        None,
        title="Box units",
        help="Units of boxes in answers; resized: pixels of the image as resized for the model, not of a "
        "server. Default: those of --box-format, else pixels of the original image.",
        group="Scores",
    )
    report: str | None = option(
        None, title="Report", help="Write a self-contained HTML report to this file.", group="Scores", path=True
    )

    # --- Answers -----------------------------------------------------------------------------------------------------
    max_new_tokens: int = option(
        128,
        title="Maximum new tokens",
        help="Maximum length of an answer.",
        group="Answers",
        unit="tokens",
        basic=True,
        ge=1,
    )
    temperature: float = option(
        0.0, title="Temperature", help="Sampling temperature; 0 is greedy decoding.", group="Answers", ge=0, le=100
    )
    top_p: float = option(
        1.0, title="Top-p", help="Nucleus sampling; requires a temperature above 0.", group="Answers", gt=0, le=1
    )
    seed: int = option(0, title="Seed", help="Random seed for sampling.", group="Answers", ge=0)
    batch_size: int | None = option(
        None,
        title="Batch size",
        help="Rows answered at once on this machine. Default: as many as memory allows.",
        group="Answers",
        unit="rows",
        ge=1,
    )
    speed: bool = option(
        False,
        title="Measure speed",
        help="Also measure latency, tokens/s, images/s and peak memory at batch 1, 4 and 16.",
        group="Answers",
    )

    # --- Endpoint ----------------------------------------------------------------------------------------------------
    concurrency: int = option(
        8,
        title="Concurrency",
        help="Requests to the endpoint at once.",
        group="Endpoint",
        unit="requests",
        ge=1,
        le=512,
    )
    timeout: float = option(
        120.0, title="Timeout", help="Limit for one request.", group="Endpoint", unit="seconds", gt=0
    )
    retries: int = option(
        6,
        title="Retries",
        help="Attempts after a failed request, with increasing waits; a Retry-After header is obeyed.",
        group="Endpoint",
        unit="attempts",
        ge=0,
        le=100,
    )

    @field_validator("metrics", "group_by", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        """Names separated by commas are several names."""
        return split_names(value)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.endpoint is not None and self.compare == BASE:
            raise ValueError("compare: a server has no `base`; name the model it serves the base as")
        if self.endpoint is not None and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError("endpoint: give a URL that begins with http:// or https://")
        for name in ("boxes", "box_format"):
            if self.endpoint is not None and getattr(self, name) == "resized":
                raise ValueError(
                    f"{name}: what a server resizes images to is not known; evaluate the model on this machine"
                )
        if self.endpoint is not None and (self.min_pixels or self.max_pixels):
            raise ValueError("max_pixels: a server resizes images by its own limits; set them there")
        if self.min_pixels and self.max_pixels and self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels: must not exceed max_pixels ({self.max_pixels})")
        if self.top_p < 1 and self.temperature == 0:
            raise ValueError("top_p: requires a temperature above 0")
        return self

    @property
    def title(self) -> str:
        """A heading: its name, or its model without folders; the result of a run is in a folder `model` of the run."""
        parts = self.model.rstrip("/").split("/")
        last = parts[-2] if len(parts) > 1 and parts[-1] == "model" else parts[-1]
        return self.name or (last if self.model.startswith("/") else self.model)
