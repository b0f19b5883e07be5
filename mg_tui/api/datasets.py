"""`/datasets`: what is known here, rows, the check, and a row as the model sees it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body, Query
from fastapi.responses import Response

from mg_tui.api import docs
from mg_tui.api.access import NATIVE
from mg_tui.api.errors import ApiError, spec_problem
from mg_tui.api.garden import Garden, GardenOf
from mg_tui.api.resources import LimitQuery, json_answer, list_body
from mg_tui.core.errors import SpecError
from mg_tui.core.named_datasets import resolve_named_datasets
from mg_tui.core.options import options_of
from mg_tui.core.spec import DatasetFormat, DatasetLayout, TrainingSpec
from mg_tui.runs import recents

if TYPE_CHECKING:
    from mg_tui.data.browser import Browser

router = APIRouter(prefix=f"{NATIVE}/datasets", tags=["datasets"])

DatasetQuery = Annotated[str, Query(min_length=1, max_length=4096, description="A path, or a name of [datasets].")]
_OWN_FIELDS = ("row", "headers_only")


@router.get("", summary="Datasets that are known here", responses=docs.answers("dataset_list", 401))
def list_datasets(garden: GardenOf) -> Response:
    """Those of garden.toml by name, and those that were opened here lately and that callers may read."""
    named = [
        {"object": "dataset", "name": name, "source": "garden.toml", "path": garden.paths.redact(str(table["path"]))}
        if "path" in table
        else {"object": "dataset", "name": name, "source": "garden.toml"}
        for name, table in garden.settings.datasets.items()
    ]
    lately = [
        {
            "object": "dataset",
            "name": item.reference,
            "source": "recent",
            "opened_at": item.opened_at or None,
            "here": Path(item.reference).exists(),
        }
        for item in recents.read(garden.home, "datasets")
        if garden.paths.policy.allows(Path(item.reference))
    ]
    return json_answer(list_body([*named, *lately], has_more=False))


@router.get("/rows", summary="Rows of a dataset", responses=docs.answers("dataset_rows", 401, 403, 422))
def rows(
    garden: GardenOf,
    dataset: DatasetQuery,
    after: Annotated[int, Query(ge=0, le=1 << 53, description="The number of the last row of the page before.")] = 0,
    limit: LimitQuery = 20,
    dataset_format: Annotated[DatasetFormat | None, Query()] = None,
    dataset_layout: Annotated[DatasetLayout | None, Query()] = None,
    dataset_split: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
) -> Response:
    from mg_tui.data.browser import open_browser
    from mg_tui.data.row_loader import RowLoader
    from mg_tui.data.row_record import row_record
    from mg_tui.preflight.dataset_check import open_dataset

    values = {
        "dataset": dataset,
        "dataset_format": dataset_format,
        "dataset_layout": dataset_layout,
        "dataset_split": dataset_split,
    }
    spec = _spec(garden, {name: value for name, value in values.items() if value is not None})
    source, options = open_dataset(spec, garden.settings, cwd=garden.cwd, policy=garden.paths.policy)
    browser = open_browser(source, garden.settings.cache)
    _index_to(browser, after + limit + 1)
    found = browser.read_rows(after + 1, limit + 1)
    loader = RowLoader(source, options)
    try:
        records = [row_record(row, loader.load([row])[0]) for row in found[:limit]]
    finally:
        loader.close()
    return json_answer(_plain(list_body(records, has_more=len(found) > limit)))


@router.post(
    "/check",
    summary="Check every row and image",
    responses=docs.answers("check", 401, 403, 422, 429),
    openapi_extra=docs.dataset_body("check"),
)
def check(garden: GardenOf, body: Annotated[dict[str, Any], Body()]) -> Response:
    from mg_tui.preflight.dataset_check import check_dataset

    own, values = _split(body)
    spec = _spec(garden, values)
    with garden.check_place():
        report = check_dataset(
            spec,
            garden.settings,
            cwd=garden.cwd,
            depth="header" if own.get("headers_only") else "decode",
            count_tokens="base_model" in values or "base_model" in garden.settings.train,
            policy=garden.paths.policy,
        )
    return json_answer(_plain(report.as_dict()))


@router.post(
    "/tokens",
    summary="A row as the model sees it: tokens, supervised ones marked",
    responses=docs.answers("tokens", 401, 403, 404, 422, 429),
    openapi_extra=docs.dataset_body("tokens"),
)
def tokens(garden: GardenOf, body: Annotated[dict[str, Any], Body()]) -> Response:
    from mg_tui.data.browser import open_browser
    from mg_tui.data.row_loader import RowLoader
    from mg_tui.data.row_record import row_record
    from mg_tui.preflight.dataset_check import open_dataset
    from mg_tui.preflight.token_view import inspect_row, open_token_inspector

    own, values = _split(body)
    number = own.get("row", 1)
    spec = _spec(garden, values)
    source, options = open_dataset(spec, garden.settings, cwd=garden.cwd, policy=garden.paths.policy)
    browser = open_browser(source, garden.settings.cache)
    _index_to(browser, number)
    row = browser.read_row(number)
    loader = RowLoader(source, options)
    try:
        loaded = loader.load([row])[0]
    finally:
        loader.close()
    with garden.engine_place(), open_token_inspector(spec) as inspector:
        return json_answer(_plain(row_record(row, loaded, inspect_row(inspector, loaded))))


def _split(body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    own = {name: body[name] for name in _OWN_FIELDS if name in body}
    number, headers = own.get("row", 1), own.get("headers_only", False)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= 1 << 53:
        raise ApiError(422, "invalid-options", "row: give a whole number from 1")
    if not isinstance(headers, bool):
        raise ApiError(422, "invalid-options", "headers_only: give true or false")
    return own, {name: value for name, value in body.items() if name not in _OWN_FIELDS}


def _spec(garden: Garden, values: Mapping[str, Any]) -> TrainingSpec:
    """The spec of a run on this dataset, over the [train] table of garden.toml.

    Raises:
        ApiError, PathForbidden: a value is invalid, or a path outside the roots.
    """
    allowed = {opt.name for opt in options_of(TrainingSpec) if opt.group == "Data"} | {"base_model", "revision"}
    unknown = [name for name in values if name not in allowed]
    if unknown:
        raise ApiError(422, "invalid-options", f"{unknown[0]}: not an option of a dataset")
    try:
        # [train] trusts the code of the owner's base model, not of one that a caller names.
        spec = TrainingSpec.parse({"base_model": "tiny", **garden.settings.train, **values, "trust_remote_code": False})
    except SpecError as error:
        raise spec_problem(error, {}) from error
    for name in ("dataset", "eval_dataset", "image_root"):
        value = getattr(spec, name)
        if value is not None and value not in garden.settings.datasets:
            garden.paths.require(value, name)
    garden.paths.require_model(spec.base_model)
    return resolve_named_datasets(spec, garden.settings.datasets, garden.settings.train)


def _index_to(browser: "Browser", number: int) -> None:
    from mg_tui.data.indexed_browser import IndexedBrowser

    if isinstance(browser, IndexedBrowser) and number > 64:
        browser.index_up_to(number, lambda _share: None)


def _plain(value: Any) -> Any:
    """Values of rows as JSON has them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    from mg_tui.data.row_record import json_value

    return value if value is None or isinstance(value, str | int | float | bool) else json_value(value)
