"""The hook by which a plugin adds metrics, and the entry-point group it is found by.

Its mark is not the one of model families (`mg_tui.families.hookimpl`): one module may implement both hooks.
"""

from collections.abc import Iterable
from typing import Final

import pluggy

from mg_tui.hooks import METRICS_GROUP
from mg_tui.metrics.contract import Metric

PROJECT_NAME: Final = "mg_tui_metrics"
ENTRY_POINT_GROUP: Final = METRICS_GROUP

hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)


@hookspec
def mg_metrics() -> Iterable[Metric]:
    """Yield the metrics of the plugin: for each a function and its name.

    A complete plugin is one module, here `garden_contains.py`:

        from collections.abc import Iterator, Sequence

        from mg_tui.metrics import Metric, hookimpl, row_metric


        def contains(answer: str, references: Sequence[str]) -> float:
            return float(any(reference.lower() in answer.lower() for reference in references))


        @hookimpl
        def mg_metrics() -> Iterator[Metric]:
            yield row_metric("contains", contains, title="Contains a reference", version="1")

    and its distribution names the module in `pyproject.toml`:

        [project.entry-points."mg_tui.metrics"]
        contains = "garden_contains"

    The function gets the answer and the references of one row and gives a score from 0 to 1. It is called neither for
    an empty answer, which scores 0, nor for references that are no text. `version` changes whenever a score would: name
    and version stand in every result. A metric that is no mean over rows is a `Metric` whose `compute` takes all
    predictions at once (`mg_tui.metrics.contract`).

    A metric that raises, or gives a score outside its bounds, is named in the result, and the others are not affected.
    Nothing here may import torch or transformers while the module is imported or the hook is called.
    """
    raise NotImplementedError
