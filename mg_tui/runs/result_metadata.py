"""`model_garden.json`, the metadata of a result: how text and images became model input during training.

It lies beside the weights. Generation, merging, evaluation and serving read it, so that a model is used as it was
trained. A folder that another program wrote has none; it is then read with defaults, and `ResultMetadata.assumed` is
true. Free of torch. It imports pydantic, so modules that have to start quickly import it inside functions.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mg_tui.core.errors import UsageError
from mg_tui.core.files import write_atomic
from mg_tui.core.precision import DTypeName, QuantizationName
from mg_tui.core.preprocessing import Preprocessing
from mg_tui.core.spec import DEFAULT_MAX_PIXELS, DEFAULT_MIN_PIXELS, UNATTENDED_FIELDS, TrainingSpec
from mg_tui.runs.result_place import METADATA_FILE as METADATA_FILE
from mg_tui.runs.versions import package_versions

SCHEMA_VERSION: Final = 1

ADAPTER_CONFIG: Final = "adapter_config.json"
ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
MODEL_CONFIG: Final = "config.json"
_MAX_JSON_BYTES: Final = 4 << 20  # a file of a result that is larger is not one of these

ResultKind = Literal["adapter", "model", "merged"]


class _FrozenModel(BaseModel):
    # What a newer minor version adds is ignored; `schema` changes when the meaning of what is there does.
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class BaseModelRef(_FrozenModel):
    """The model that was trained: `name` as the user gave it; `path` is its folder when it was a local one."""

    name: str = Field(min_length=1)
    path: str | None = None
    revision: str | None = None


class DatasetFields(_FrozenModel):
    """The dataset fields that the question, the image and the answer came from."""

    text: str = "text"
    image: str = "image"
    response: str = "response"


class ResultMetadata(_FrozenModel):
    """What `model_garden.json` holds.

    `kind` says what the folder holds: an adapter, a model trained in full, or a model with its adapter merged in.
    `dtype` and `quantization` are those of training. `training` are numbers from the run, `spec` the options that were
    not at their defaults, `merge` what the comparison after a merge measured. `image_token_side`, beside GGUF files
    only, is the side in pixels of the square that a token of an image covers.
    """

    schema_version: Literal[1] = Field(default=SCHEMA_VERSION, validation_alias="schema", serialization_alias="schema")
    kind: ResultKind
    family: str
    model_type: str
    base: BaseModelRef
    min_pixels: int = Field(default=DEFAULT_MIN_PIXELS, ge=1)
    max_pixels: int = Field(default=DEFAULT_MAX_PIXELS, ge=1)
    system_prompt: str | None = None
    image_order: Literal["as_given"] = "as_given"
    fields: DatasetFields = DatasetFields()
    dtype: DTypeName = "bfloat16"
    quantization: QuantizationName = "none"
    trust_remote_code: bool = False
    versions: dict[str, str] = {}
    run: str | None = None
    created: str | None = None
    training: dict[str, Any] = {}
    spec: dict[str, Any] = {}
    merge: dict[str, Any] = {}
    image_token_side: int | None = Field(default=None, ge=1)
    assumed: bool = Field(default=False, exclude=True)

    @property
    def is_adapter(self) -> bool:
        """Whether the folder holds an adapter, which needs its base model and can be merged into it."""
        return self.kind == "adapter"

    @property
    def preprocessing(self) -> Preprocessing:
        """The part that processors and collators are made from."""
        return Preprocessing(min_pixels=self.min_pixels, max_pixels=self.max_pixels, system_prompt=self.system_prompt)

    def training_spec(self) -> TrainingSpec | None:
        """The spec of the run, when this version still understands it."""
        try:
            return TrainingSpec.model_validate(self.spec)
        except ValidationError:
            return None


def make_result_metadata(
    spec: TrainingSpec,
    family: str,
    base: BaseModelRef,
    *,
    kind: ResultKind,
    model_type: str,
    dtype: DTypeName,
    quantization: QuantizationName,
    run: str | None = None,
    training: Mapping[str, Any] | None = None,
) -> ResultMetadata:
    """The metadata of a run's result: `family` by its key; `dtype` and `quantization` as resolved, never "auto"."""
    return ResultMetadata(
        kind=kind,
        family=family,
        model_type=model_type,
        base=base,
        min_pixels=spec.min_pixels,
        max_pixels=spec.max_pixels,
        system_prompt=spec.system_prompt,
        fields=DatasetFields(text=spec.text_field, image=spec.image_field, response=spec.response_field),
        dtype=dtype,
        quantization=quantization,
        trust_remote_code=spec.trust_remote_code,
        versions=package_versions(),
        run=run,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        training=dict(training or {}),
        spec=spec.model_dump(mode="json", include=set(spec.changed()) - UNATTENDED_FIELDS),
    )


def write_result_metadata(folder: Path, metadata: ResultMetadata) -> None:
    """Write the metadata into a folder atomically.

    Raises:
        OSError: it could not be written.
    """
    unused = {"image_token_side"} if metadata.image_token_side is None else set()
    record = metadata.model_dump(mode="json", by_alias=True, exclude=unused)
    write_atomic(folder / METADATA_FILE, (json.dumps(record, ensure_ascii=False, indent=2) + "\n").encode())


def read_result_metadata(folder: Path, *, base: str | None = None) -> ResultMetadata:
    """Read and validate the metadata of a result folder; a folder without it gets defaults, marked as assumed.

    Args:
        folder: the result.
        base: the base model to assume where the folder of another program names none.

    Raises:
        UsageError: there is no such folder, it holds no model, or its metadata is invalid.
    """
    if not folder.is_dir():
        raise UsageError("there is no such result folder", where=str(folder))
    file = folder / METADATA_FILE
    if not file.is_file():
        return _assume_metadata(folder, base)
    record = read_json_object(file)
    schema = record.get("schema")
    if isinstance(schema, int) and schema > SCHEMA_VERSION:
        raise UsageError(
            "the result was written by a newer version of Model Garden",
            where=str(file),
            why=f"its metadata has schema {schema}; this version reads {SCHEMA_VERSION}",
            hint="upgrade model-garden-tui",
        )
    try:
        return ResultMetadata.model_validate(record)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:5])
        raise UsageError("the metadata of the result is invalid", where=str(file), why=problems) from None


def _assume_metadata(folder: Path, base_model: str | None) -> ResultMetadata:
    """Metadata for a folder written by another program: a plain PEFT adapter, or a plain model."""
    if (folder / ADAPTER_CONFIG).is_file():
        config = read_json_object(folder / ADAPTER_CONFIG)
        base = config.get("base_model_name_or_path") or base_model
        if not isinstance(base, str) or not base:
            raise UsageError(
                "the adapter does not say which base model it belongs to",
                where=str(folder / ADAPTER_CONFIG),
                hint="name it with --base-model",
            )
        revision = config.get("revision")
        ref = BaseModelRef(name=base, revision=revision if isinstance(revision, str) else None)
        return ResultMetadata(kind="adapter", family="", model_type="", base=ref, assumed=True)
    if (folder / MODEL_CONFIG).is_file():
        model_type = str(read_json_object(folder / MODEL_CONFIG).get("model_type", ""))
        return ResultMetadata(
            kind="model", family="", model_type=model_type, base=BaseModelRef(name=str(folder)), assumed=True
        )
    raise UsageError(
        "the folder holds neither an adapter nor a model",
        where=str(folder),
        why=f"it has no {ADAPTER_CONFIG} and no {MODEL_CONFIG}",
        hint="give the --output-dir of a run, or its id (`model-garden runs` lists them)",
    )


def read_json_object(file: Path) -> dict[str, Any]:
    """A JSON object from a file of a result.

    Raises:
        UsageError: the file cannot be read, is too large, or holds something else.
    """
    try:
        if file.stat().st_size > _MAX_JSON_BYTES:
            raise UsageError(
                "a file of the result is too large", where=str(file), why=f"it has more than {_MAX_JSON_BYTES:,} bytes"
            )
        record = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError("a file of the result cannot be read", where=str(file), why=error.strerror) from None
    except ValueError as error:
        raise UsageError("a file of the result is not JSON", where=str(file), why=str(error)) from None
    if not isinstance(record, dict):
        raise UsageError("a file of the result is not a JSON object", where=str(file))
    return record
