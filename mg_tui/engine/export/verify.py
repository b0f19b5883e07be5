"""`python -m mg_tui.engine.export.verify`: whether another form of a model answers rows like the model.

    {"op": "verify", "model": "...", "against": "URL or model", "home": "...", "cwd", "cache", "name", "dataset",
     "rows", "max_new_tokens", "min_agreement", "base_model", "device", "dtype", "quantization"}
        -> notice, ..., verified {"model", "against", "source", "agreement"}

One model is in memory at a time. Both are loaded in the same dtype.
"""

import gc
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import Field

from mg_tui.core.errors import UsageError
from mg_tui.core.paths import expand_user
from mg_tui.core.precision import DTypeName, QuantizationName
from mg_tui.core.text import one_line, pluralize
from mg_tui.engine.evaluation.answerer import ModelAnswer
from mg_tui.engine.export.agreement import compare_answers
from mg_tui.engine.export.questions import ask_model, ask_server, ask_without_adapter, error_of_first, load_rows
from mg_tui.engine.inference.channel import Channel, serve_stdio
from mg_tui.engine.inference.generate import ChannelRequest, parse_request, silence_libraries
from mg_tui.engine.inference.locator import LocatedModel, locate_model
from mg_tui.families.registry import Registry, load_registry

RowCount = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]


class VerifyRequest(ChannelRequest):
    """The model, what is compared with it, and what both are asked."""

    model: Annotated[str, Field(min_length=1)]
    against: Annotated[str, Field(min_length=1)]
    home: Path
    cwd: Path
    cache: Path
    name: str | None = None
    dataset: str | None = None
    rows: RowCount = 16
    max_new_tokens: RowCount = 128
    min_agreement: Share = 1.0
    base_model: str | None = None
    device: Literal["auto", "cuda", "cpu"] = "auto"
    dtype: DTypeName | Literal["auto"] = "auto"
    quantization: QuantizationName | Literal["auto"] = "none"

    @property
    def is_server(self) -> bool:
        """Whether a server is compared."""
        return self.against.startswith(("http://", "https://"))


class Verifier:
    """Compares models, one pair at a time, without state between them."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def verify(self, values: dict[str, Any]) -> None:
        """Ask both the same rows; replies `verified` with the agreement, whether or not they agree."""
        request = parse_request(VerifyRequest, values)
        registry = load_registry()
        located = locate_model(request.model, home=request.home, registry=registry, base_model=request.base_model)
        # Errors in what it is compared with are found before the first model is loaded.
        other = None if request.is_server else self._locate_other(request, registry)
        if request.name and other is not None:
            raise UsageError("--name is the name of a server's model", why="--against is no URL")
        silence_libraries()
        from mg_tui.engine.inference.loading import load_located

        how = {"device": request.device, "quantization": request.quantization}
        self._channel.send_notice(f"loading {located.label}")
        loaded = load_located(located, registry, dtype=request.dtype, **how)  # type: ignore[arg-type]
        examples, source = load_rows(
            loaded, cwd=request.cwd, cache=request.cache, dataset=request.dataset, count=request.rows
        )
        self._channel.send_notice(f"asking {located.label} {pluralize(len(examples), 'row')}: {source}")
        expected, dtype = ask_model(loaded, examples, request.max_new_tokens), loaded.dtype
        if (error := error_of_first(expected)) is not None:
            raise error
        base = ask_without_adapter(loaded, examples, request.max_new_tokens)
        del loaded
        gc.collect()
        self._channel.send_notice(f"asking {one_line(request.against, limit=200)}")
        answers: list[ModelAnswer]
        if other is None:
            answers = ask_server(request.against, request.name, examples, request.max_new_tokens)
        else:
            loaded = load_located(other, registry, dtype=dtype, **how)  # type: ignore[arg-type]
            answers = ask_model(loaded, examples, request.max_new_tokens)
        agreement = compare_answers(expected, answers, base, required=request.min_agreement)
        self._channel.send(
            "verified",
            model=located.label,
            against=request.against,
            source=source,
            dtype=dtype,
            max_new_tokens=request.max_new_tokens,
            **agreement.as_dict(),
        )

    def _locate_other(self, request: VerifyRequest, registry: Registry) -> LocatedModel:
        file = expand_user(request.against)
        if file.is_file():
            raise UsageError(
                "what the model is compared with is a file",
                where=str(file),
                hint="give a folder with a model or an adapter, or the URL of a server that has loaded the file",
            )
        located = locate_model(request.against, home=request.home, registry=registry)
        for note in located.notes:
            self._channel.send_notice(note)
        return located


def main() -> NoReturn:
    """Serve requests on standard input until it closes."""
    serve_stdio(lambda channel: {"verify": Verifier(channel).verify})


if __name__ == "__main__":
    main()
