"""ServeSpec: everything that decides a server, declared once; front ends read it as `mg_tui.core.spec`."""

from typing import Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from mg_tui.core.options import option
from mg_tui.core.spec_base import LoadingSpec

DEFAULT_PORT: Final = 8080


class ServeSpec(LoadingSpec):
    """What a server was asked to be.

    `models` are results, runs, checkpoints or base models, each as MODEL or NAME=MODEL; several share one base model.
    """

    models: tuple[str, ...] = Field(min_length=1)
    name: str | None = None

    # --- Server ------------------------------------------------------------------------------------------------------
    engine: Literal["auto", "vllm", "builtin", "llama"] = option(
        "auto",
        title="Engine",
        help="What answers. auto: llama-server for a .gguf file, vLLM if its command is on PATH, else builtin.",
        group="Server",
        basic=True,
    )
    host: str = option(
        "127.0.0.1",
        title="Host",
        help="Address to listen on. Beyond this machine a bearer token is required.",
        group="Server",
        min_length=1,
        example="127.0.0.1",
    )
    port: int = option(
        DEFAULT_PORT,
        title="Port",
        help="Port to listen on; 0 takes a free one.",
        group="Server",
        basic=True,
        ge=0,
        le=65535,
    )
    tls_cert: str | None = option(
        None, title="TLS certificate", help="Certificate for HTTPS, as PEM.", group="Server", path=True
    )
    tls_key: str | None = option(None, title="TLS key", help="Its key, as PEM.", group="Server", path=True)
    behind_proxy: bool = option(
        False,
        title="Behind a proxy",
        help="A proxy in front ends TLS; then every request needs a token.",
        group="Server",
    )
    allow_host: tuple[str, ...] = option(
        (),
        title="Allowed hosts",
        help="Accept requests under this name, too.",
        group="Server",
        example="gpu.example.org",
    )
    queue: int = option(
        64,
        title="Queue",
        help="Waiting requests; further ones are refused with status 429.",
        group="Server",
        unit="requests",
        ge=1,
        le=10_000,
    )
    timeout: float = option(600.0, title="Timeout", help="Limit for one request.", group="Server", unit="seconds", gt=0)
    image_urls: Literal["public", "none"] = option(
        "public",
        title="Image URLs",
        help="public: images are downloaded from the public internet; none: only data URIs are accepted.",
        group="Server",
    )

    # --- Model -------------------------------------------------------------------------------------------------------
    mmproj: str | None = option(
        None,
        title="Vision file",
        help="The mmproj .gguf file of a .gguf model. Default: the only one beside it.",
        group="Model",
        path=True,
    )

    # --- Answers -----------------------------------------------------------------------------------------------------
    max_new_tokens: int = option(
        512,
        title="Maximum new tokens",
        help="Length of an answer whose request names none.",
        group="Answers",
        unit="tokens",
        ge=1,
    )
    batch_size: int | None = option(
        None,
        title="Batch size",
        help="Requests answered at once. Default: as many as memory allows.",
        group="Answers",
        unit="requests",
        ge=1,
    )

    # --- Proof -------------------------------------------------------------------------------------------------------
    proof_rows: int = option(
        4,
        title="Proof rows",
        help="Held-out rows that each served model is asked at the start and compared on; 0 asks none.",
        group="Proof",
        basic=True,
        unit="rows",
        ge=0,
        le=1000,
    )
    dataset: str | None = option(
        None,
        title="Dataset",
        help="Rows of the proof: a file, a folder or a Hub dataset. Default: the run's held-out rows.",
        group="Proof",
        min_length=1,
        known="datasets",
    )

    @field_validator("models", mode="before")
    @classmethod
    def _one_is_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [model for model in self.models if not model.strip() or model.startswith("=")]
        if names:
            raise ValueError("models: give each as MODEL or NAME=MODEL")
        if self.mmproj is not None and self.engine not in ("auto", "llama"):
            raise ValueError("mmproj: goes with a .gguf file and the engine llama")
        return self

    @property
    def title(self) -> str:
        """A heading: its name, or its models."""
        return self.name or ", ".join(self.models)


def split_served(given: str) -> tuple[str | None, str]:
    """The name and the model of NAME=MODEL; None for a model without a name. A path may have a `=` further on."""
    name, equals, model = given.partition("=")
    if equals and model and "/" not in name and name:
        return name, model
    return None, given
