"""What exports and verifications have in common: the model, the rows both forms are asked, and where things are."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from mg_tui.engine.inference.generate import ChannelRequest
from mg_tui.runs.caller_bounds import CallerBounds

RowCount = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]


class AskingRequest(ChannelRequest):
    """`bounds` are those of a caller of the API, for the rows of `dataset`."""

    model: Annotated[str, Field(min_length=1)]
    home: Path
    cwd: Path
    cache: Path
    base_model: str | None = None
    dataset: str | None = None
    bounds: CallerBounds | None = None
    rows: RowCount = 16
    max_new_tokens: RowCount = 128
    min_agreement: Share = 1.0
