"""What is done with a model after training: one spec for each of merge, export, verify and push.

Declared once; command line, dashboard and API read them as `mg_tui.core.spec`.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from mg_tui.core.errors import UsageError
from mg_tui.core.options import option
from mg_tui.core.spec_base import LoadingSpec, SpecBase, WeightsSpec

DEFAULT_AGREEMENT: Final = 1.0
# Of files that llama.cpp computes: where two tokens are almost equally likely, the other one may win.
GGUF_AGREEMENT: Final = 0.9

_OUTPUT_HELP: Final = "Output folder; must be new or empty."


class ModelJobSpec(SpecBase):
    """Base of these specs.

    `operation` is the command's name; `model` a result, a run, a checkpoint or, where that makes sense, a base model.
    """

    operation: str
    model: str = Field(min_length=1)
    name: str | None = None

    @property
    def target(self) -> str:
        """What the model becomes, goes to, or is compared with."""
        raise NotImplementedError


class AskingSpec(SpecBase):
    """What both forms of a model are asked."""

    dataset: str | None = option(
        None,
        title="Dataset",
        help="Rows to ask: a file, a folder or a Hub dataset. Default: the run's held-out rows.",
        group="Comparison",
        min_length=1,
        known="datasets",
    )
    rows: int = option(
        16, title="Rows", help="Number of rows to ask, at most.", group="Comparison", unit="rows", ge=1, le=100_000
    )
    max_new_tokens: int = option(
        128,
        title="Maximum new tokens",
        help="Maximum length of an answer.",
        group="Comparison",
        unit="tokens",
        ge=1,
        le=32_768,
    )
    min_agreement: float | None = option(
        None,
        title="Minimum agreement",
        help="Share of rows that have to be answered alike. Rounding can change a long answer. Default: 1.0; 0.9 for "
        "GGUF, which is computed by other kernels.",
        group="Comparison",
        gt=0,
        le=1,
    )


class MergeSpec(ModelJobSpec, WeightsSpec):
    """An adapter to merge into its base model."""

    operation: Literal["merge"] = "merge"
    output: str = option(
        title="Output folder",
        help=_OUTPUT_HELP,
        group="Output",
        basic=True,
        path=True,
        min_length=1,
        example="./models/mine-merged",
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = option(
        "auto", title="dtype", help="dtype of the merged weights; auto: as in training.", group="Model"
    )
    device: Literal["auto", "cuda", "cpu"] = option("cpu", title="Device", help="Device for merging.", group="Model")

    @property
    def target(self) -> str:
        return self.output


class ExportSpec(ModelJobSpec, WeightsSpec, AskingSpec):
    """A result to export for other programs."""

    operation: Literal["export"] = "export"
    format: Literal["merged", "vllm", "gguf"] = option(
        title="Format",
        help="merged: one whole model; vllm: what vLLM serves, with its command; gguf: files for llama.cpp.",
        group="Output",
        basic=True,
    )
    output: str = option(
        title="Output folder",
        help=_OUTPUT_HELP,
        group="Output",
        basic=True,
        path=True,
        min_length=1,
        example="./exports/mine",
    )
    merged: bool = option(
        False,
        title="Merged",
        help="With format vllm: merge the adapter instead of serving it as one.",
        group="Output",
        basic=True,
    )
    quantization: tuple[Literal["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M"], ...] = option(
        (),
        title="Quantization",
        help="With format gguf: quantization of the text model. Default: Q8_0 and Q4_K_M.",
        group="Output",
        basic=True,
    )
    adapter: bool = option(
        False,
        title="Adapter",
        help="With format gguf: the adapter as a file of its own, beside its base.",
        group="Output",
        basic=True,
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = option(
        "auto",
        title="dtype",
        help="dtype of merged weights and of the comparison; auto: as in training; float32 for an adapter on a CPU.",
        group="Model",
    )
    device: Literal["auto", "cuda", "cpu"] = option(
        "cpu", title="Device", help="Device for merging and asking.", group="Model"
    )

    @field_validator("quantization", mode="before")
    @classmethod
    def _upper_case(cls, value: Any) -> Any:
        return tuple(str(item).upper() for item in value) if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _of_this_format(self) -> Self:
        if self.merged and self.format != "vllm":
            raise ValueError("merged: goes with format vllm; the other formats merge anyway")
        for name in ("quantization", "adapter"):
            if getattr(self, name) and self.format != "gguf":
                raise ValueError(f"{name}: goes with format gguf")
        return self

    @property
    def target(self) -> str:
        return self.output

    @property
    def required_agreement(self) -> float:
        """The share of answers that have to be alike."""
        return self.min_agreement or (GGUF_AGREEMENT if self.format == "gguf" else DEFAULT_AGREEMENT)


class VerifySpec(ModelJobSpec, LoadingSpec, AskingSpec):
    """A model, and another form of it that has to answer alike."""

    operation: Literal["verify"] = "verify"
    against: str = option(
        title="Against",
        help="What has to answer alike: an OpenAI-compatible server, a folder, a run, a base model, or a GGUF file.",
        group="Other form",
        basic=True,
        min_length=1,
        example="http://localhost:8000/v1",
    )
    mmproj: str | None = option(
        None,
        title="Vision file",
        help="The vision tower of a GGUF file. Default: the only mmproj*.gguf beside it.",
        group="Other form",
        path=True,
    )
    name: str | None = option(
        None,
        title="Name on the server",
        help="The model's name on the server. Default: its only one.",
        group="Other form",
        min_length=1,
    )
    quantization: Literal["auto", "nf4", "int8", "none"] = option(
        "none", title="Quantization", help="Of what is loaded here; auto: as in training.", group="Model"
    )

    @property
    def target(self) -> str:
        return self.against

    @property
    def required_agreement(self) -> float:
        """The share of answers that have to be alike."""
        return self.min_agreement or (GGUF_AGREEMENT if self.against.endswith(".gguf") else DEFAULT_AGREEMENT)


class PushSpec(ModelJobSpec):
    """A model to push to the Hub."""

    operation: Literal["push"] = "push"
    repository: str = option(
        title="Repository",
        help="Repository on the Hub.",
        group="Repository",
        basic=True,
        min_length=1,
        example="owner/name",
    )
    public: bool = option(
        False,
        title="Public",
        help="Who sees a new repository: you alone, or everyone.",
        group="Repository",
        basic=True,
        off="private",
    )
    merged: bool = option(
        False,
        title="Merged",
        help="Merge an adapter into its base model first, and push the whole model.",
        group="Repository",
        basic=True,
    )
    force: bool = option(
        False,
        title="Force",
        help="Replace the result files of a repository that has other content.",
        group="Repository",
    )
    revision: str | None = option(
        None,
        title="Revision",
        help="Branch to push to; made if there is none. Default: main.",
        group="Repository",
        min_length=1,
    )
    base_model: str | None = option(
        None,
        title="Base model",
        help="The base model's name on the Hub, where it was trained from a local folder.",
        group="Model card",
        min_length=1,
    )
    card: str | None = option(
        None,
        title="Model card",
        help="A model card of your own. Default: one made from the result's metadata.",
        group="Model card",
        path=True,
    )
    dry_run: bool = option(
        False,
        title="Dry run",
        help="Check everything, show files and model card, and send nothing.",
        group="Repository",
        basic=True,
    )

    @property
    def target(self) -> str:
        return self.repository


JOB_SPECS: Final[Mapping[str, type[ModelJobSpec]]] = {
    "merge": MergeSpec,
    "export": ExportSpec,
    "verify": VerifySpec,
    "push": PushSpec,
}


def parse_job_spec(values: Mapping[str, Any], *, where: str | None = None) -> ModelJobSpec:
    """The spec of a job from its values, by their `operation`.

    Raises:
        UsageError: there is no such operation; a SpecError when a value cannot be used.
    """
    operation = str(values.get("operation"))
    if operation not in JOB_SPECS:
        raise UsageError(
            f"{operation!r} is nothing that is done with a model", where=where, hint=f"one of {', '.join(JOB_SPECS)}"
        )
    return JOB_SPECS[operation].parse(values, where=where)
