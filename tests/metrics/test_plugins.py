"""Metrics of plugins: broken in every way we could think of, and the others that live on."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from mg_tui.hooks import DISABLE_ENV
from mg_tui.metrics import Prediction, hookspec
from mg_tui.metrics.registry import MetricPlugin, MetricRegistry, make_registry
from mg_tui.metrics.scoring import evaluate

HEAD = "from mg_tui.metrics import MetricOutput, Metric, hookimpl, row_metric\n"
ONE = "row_metric('one', lambda answer, references: 1.0)"


def yields(*metrics: str) -> str:
    return "\n".join([HEAD, "@hookimpl", "def mg_metrics():", *(f"    yield {one}" for one in metrics)])


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Installer"]:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield Installer(tmp_path)
    for name in set(sys.modules) - before:
        if name.startswith("garden_"):
            del sys.modules[name]


class Installer:
    """Writes plugins and makes a registry of them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.entries: list[EntryPoint] = []

    def add(self, name: str, source: str) -> Path:
        file = self.folder / f"garden_{name}.py"
        file.write_text(source)
        self.entries.append(EntryPoint(name=name, value=f"garden_{name}", group=hookspec.ENTRY_POINT_GROUP))
        return file

    def registry(self, **environ: str) -> MetricRegistry:
        return make_registry(self.entries, environ)


def plugin(registry: MetricRegistry, name: str) -> MetricPlugin:
    return next(plugin for plugin in registry.plugins if plugin.name == name)


def names(registry: MetricRegistry) -> list[str]:
    return [metric.name for metric in registry.metrics if metric.origin]


BROKEN = {
    "raises at import": ("import sys\nraise RuntimeError('out of luck')\n", "RuntimeError: out of luck", 2),
    "is not Python": ("def (:\n", "SyntaxError", 1),
    "leaves at import": ("import sys\nsys.exit(3)\n", "SystemExit: 3", 2),
    "raises in the hook": (HEAD + "@hookimpl\ndef mg_metrics():\n    return 1 / 0\n", "ZeroDivisionError", 4),
    "misspells the hook": (HEAD + "@hookimpl\ndef mg_metric():\n    return []\n", "mg_metric", 2),
    "forgets the mark": (HEAD + "def mg_metrics():\n    return []\n", "marked @hookimpl", 1),
    "has the mark of families": (
        "from mg_tui.families import hookimpl\n@hookimpl\ndef mg_metrics():\n    return []\n",
        "marked @hookimpl",
        1,
    ),
    "returns nothing": (HEAD + "@hookimpl\ndef mg_metrics():\n    pass\n", "yielded nothing", 2),
    "returns one": (HEAD + f"@hookimpl\ndef mg_metrics():\n    return {ONE}\n", "returned one Metric", 2),
    "yields a function": (HEAD + "@hookimpl\ndef mg_metrics():\n    yield len\n", "where a Metric belongs", 2),
    "yields none": (HEAD + "@hookimpl\ndef mg_metrics():\n    return []\n", "gave no metrics", 2),
    "takes a built-in name": (yields("row_metric('anls', len)"), "anls: a built-in metric has this name", 3),
    "has a name with blanks": (yields("row_metric('my metric', len)"), "its name is not of lower-case letters", 3),
    "has a number for version": (yields("row_metric('a', len, version=2)"), "a: its version is no text", 3),
    "has no function": (
        yields("Metric(name='a', version='1', title='A', summary='', source='', compute=None)"),
        "a: compute is no function",
        3,
    ),
    "has bounds the wrong way": (yields("row_metric('a', len, bounds=(1, 0))"), "a: its bounds are not two numbers", 3),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_plugin_is_a_line_with_its_cause_and_place(install: Installer, how: str) -> None:
    source, cause, line = BROKEN[how]
    file = install.add("broken", source)
    install.add("sound", yields(ONE))
    registry = install.registry()

    broken = plugin(registry, "broken")
    assert broken.status == "broken"
    assert broken.values == ()
    assert broken.problem is not None
    assert cause in broken.problem
    assert f"{file}:{line}" in broken.problem
    assert names(registry) == ["one"]
    assert plugin(registry, "sound").status == "ok"


def test_two_plugins_that_claim_one_name_both_lose_it(install: Installer) -> None:
    install.add("first", yields(ONE, "row_metric('mine', len)"))
    install.add("second", yields(ONE))
    registry = install.registry()
    assert names(registry) == ["mine"]
    for name in ("first", "second"):
        assert "metric 'one' is claimed by first and second, so neither is used" in (
            plugin(registry, name).problem or ""
        )
    assert names(install.registry(**{DISABLE_ENV: "second"})) == ["mine", "one"]


def test_the_off_switch_imports_nothing(install: Installer) -> None:
    install.add("loud", "raise RuntimeError\n")
    registry = install.registry(**{DISABLE_ENV: "loud"})
    assert plugin(registry, "loud").status == "disabled"
    assert "garden_loud" not in sys.modules
    install.add("sound", yields(ONE))
    assert names(install.registry(**{DISABLE_ENV: "all"})) == []


ROWS = [Prediction(1, "Yes", ("yes",)), Prediction(2, "", ("no",)), Prediction(3, "it is no", ("no",))]

FAILING = {
    "raises": ("row_metric('bad', lambda answer, references: 1 / 0)", "ZeroDivisionError"),
    "gives no number": ("row_metric('bad', lambda answer, references: float('nan'))", "row 1 the score nan"),
    "gives too much": ("row_metric('bad', lambda answer, references: 2)", "outside 0 to 1"),
    "gives a text": ("row_metric('bad', lambda answer, references: 'good')", "could not convert"),
    "gives too few": (
        "Metric(name='bad', version='1', title='A', summary='', source='', compute=lambda rows: MetricOutput([1.0]))",
        "1 scores for 3 rows",
    ),
    "gives something else": (
        "Metric(name='bad', version='1', title='A', summary='', source='', compute=lambda rows: 0.5)",
        "AttributeError",
    ),
}


@pytest.mark.parametrize("how", FAILING)
def test_a_metric_that_fails_takes_no_other_down(install: Installer, how: str) -> None:
    source, problem = FAILING[how]
    install.add("bad", yields(source))
    install.add("sound", yields(ONE))
    done = evaluate(ROWS, install.registry().named(["exact_match_folded", "bad", "one"]))
    assert [scores.metric.name for scores in done.scores] == ["exact_match_folded", "one"]
    (failed,) = done.failed
    assert failed.metric.origin == "bad"
    assert problem in failed.problem
    if how == "raises":
        assert "garden_bad.py:" in failed.problem
    assert done.of("one").values == (1, 0, 1)  # an empty answer is not given to it
    assert done.empty_answers == 1


def test_the_example_in_the_hooks_docstring_is_a_working_plugin(install: Installer) -> None:
    documentation = textwrap.dedent(hookspec.mg_metrics.__doc__ or "")
    text = documentation.split("garden_contains.py`:\n")[1].split("and its distribution")[0]
    install.add("contains", textwrap.dedent(text))
    registry = install.registry()
    assert plugin(registry, "contains").problem is None
    done = evaluate(ROWS, registry.named(["contains"]))
    assert done.of("contains").values == (1, 0, 1)
    assert done.of("contains").metric.label == "contains@1"


def test_one_module_may_implement_both_hooks(install: Installer) -> None:
    from mg_tui.families.hookspec import ENTRY_POINT_GROUP
    from mg_tui.families.registry import make_registry as make_families

    families = (
        "from mg_tui.families import ModelFamily, Parts\n"
        "from mg_tui.families import hookimpl as family_hook\n"
        "@family_hook\n"
        "def mg_model_families():\n"
        "    parts = Parts(language=('model.language_model',), projector=(), vision=('model.visual',))\n"
        "    yield ModelFamily(key='both', title='Both', model_types=('both',), parts=parts)\n"
    )
    install.add("both", yields(ONE) + "\n" + families)
    assert names(install.registry()) == ["one"]
    registry = make_families([EntryPoint(name="both", value="garden_both", group=ENTRY_POINT_GROUP)], {})
    assert [family.key for family in registry.families] == ["both"]


def test_the_room_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "import mg_tui.metrics.choose, mg_tui.metrics.groups, mg_tui.metrics.uncertainty\n"
        "from mg_tui.metrics.registry import load_metrics\n"
        "load_metrics()\n"
        "heavy = 'torch transformers numpy PIL rapidfuzz jiwer sacrebleu munkres jinja2 pyarrow'.split()\n"
        "print(sorted(set(heavy) & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
