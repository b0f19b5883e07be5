"""Plugins that are broken in every way we could think of, and the registry that lives on."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from mg_tui.core.errors import FamilyError
from mg_tui.families.hookspec import ENTRY_POINT_GROUP
from mg_tui.families.registry import (
    DISABLE_ENV,
    PluginStatus,
    Registry,
    load_registry,
    make_registry,
    reload_registry,
)

HEAD = "from mg_tui.families import Checkpoint, ModelFamily, Parts, hookimpl\n"
PARTS = "Parts(language=('model.language_model',), projector=(), vision=('model.visual',))"


def family_source(key: str, model_type: str | None = None, *, extra: str = "") -> str:
    return f"ModelFamily(key='{key}', title='{key}', model_types=('{model_type or key}',), parts={PARTS}{extra})"


def plugin_source(*families: str) -> str:
    return "\n".join([HEAD, "@hookimpl", "def mg_model_families():", *(f"    yield {one}" for one in families)])


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
        self.entries.append(EntryPoint(name=name, value=f"garden_{name}", group=ENTRY_POINT_GROUP))
        return file

    def registry(self, **environ: str) -> Registry:
        return make_registry(self.entries, environ)


def plugin_status(registry: Registry, name: str) -> PluginStatus:
    return next(plugin for plugin in registry.plugins if plugin.name == name)


BROKEN = {
    "raises at import": ("import sys\nraise RuntimeError('out of luck')\n", "RuntimeError: out of luck", 2),
    "is not Python": ("def (:\n", "SyntaxError", 1),
    "imports what is not there": ("import os\n\nimport no_such_module_at_all\n", "no_such_module_at_all", 3),
    "leaves at import": ("import sys\nsys.exit(3)\n", "SystemExit: 3", 2),
    "raises in the hook": (HEAD + "@hookimpl\ndef mg_model_families():\n    return 1 / 0\n", "ZeroDivisionError", 4),
    "raises while yielding": (
        HEAD + f"@hookimpl\ndef mg_model_families():\n    yield {family_source('late')}\n    raise KeyError('x')\n",
        "KeyError",
        5,
    ),
    "misspells the hook": (HEAD + "@hookimpl\ndef mg_model_famlies():\n    return []\n", "mg_model_famlies", 2),
    "takes arguments": (HEAD + "@hookimpl\ndef mg_model_families(config):\n    return []\n", "config", 2),
    "forgets the mark": (HEAD + "def mg_model_families():\n    return []\n", "marked @hookimpl", 1),
    "returns nothing": (HEAD + "@hookimpl\ndef mg_model_families():\n    pass\n", "yielded nothing", 2),
    "returns one": (
        HEAD + f"@hookimpl\ndef mg_model_families():\n    return {family_source('one')}\n",
        "returned one",
        2,
    ),
    "returns a text": (HEAD + "@hookimpl\ndef mg_model_families():\n    return 'qwen'\n", "returned str", 2),
    "returns a number": (HEAD + "@hookimpl\ndef mg_model_families():\n    return 7\n", "returned int", 2),
    "yields a dict": (HEAD + "@hookimpl\ndef mg_model_families():\n    yield {'key': 'a'}\n", "gave dict", 2),
    "yields none": (HEAD + "@hookimpl\ndef mg_model_families():\n    return []\n", "gave no families", 2),
    "gives model_types as a text": (
        plugin_source(f"ModelFamily(key='a', title='a', model_types='a', parts={PARTS})"),
        'model_types is a string; write ("a",)',
        3,
    ),
    "gives a key with blanks": (plugin_source(family_source("my model", "m")), "'my model' is not an identifier", 3),
    "gives parts as a dict": (
        plugin_source("ModelFamily(key='a', title='a', model_types=('a',), parts={'language': 'model'})"),
        "parts is dict, not Parts",
        3,
    ),
    "gives an unknown capability": (
        plugin_source(family_source("a", extra=", capabilities={'flies': True}")),
        "capability 'flies' is unknown",
        3,
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_plugin_is_a_line_with_its_cause_and_place(install: Installer, how: str) -> None:
    source, cause, line = BROKEN[how]
    file = install.add("broken", source)
    install.add("sound", plugin_source(family_source("sound")))
    registry = install.registry()

    broken = plugin_status(registry, "broken")
    assert broken.status == "broken"
    assert broken.families == ()
    assert broken.problem is not None
    assert cause in broken.problem
    assert f"{file}:{line}" in broken.problem
    assert broken.file == str(file)
    assert plugin_status(registry, "sound").status == "ok"
    assert registry.by_model_type("sound").key == "sound"


def test_a_missing_module_is_named(install: Installer) -> None:
    install.entries.append(EntryPoint(name="gone", value="garden_gone_away", group=ENTRY_POINT_GROUP))
    install.add("sound", plugin_source(family_source("sound")))
    registry = install.registry()
    assert "garden_gone_away" in (plugin_status(registry, "gone").problem or "")
    assert [one.key for one in registry.families] == ["sound"]


def test_two_plugins_that_claim_one_model_type_both_lose_it(install: Installer) -> None:
    install.add("first", plugin_source(family_source("a", "contested"), family_source("mine")))
    install.add("second", plugin_source(family_source("b", "contested")))
    registry = install.registry()
    for name, other in (("first", "second"), ("second", "first")):
        problem = plugin_status(registry, name).problem or ""
        assert "model type 'contested'" in problem
        assert other in problem
        assert "neither is used" in problem
    assert plugin_status(registry, "first").families == ("mine",)  # its other family is not disputed
    assert [one.key for one in registry.families] == ["mine"]
    with pytest.raises(FamilyError, match="claimed by first and second") as caught:
        registry.by_model_type("contested")
    assert f"{DISABLE_ENV}=second" in (caught.value.hint or "")
    assert install.registry(**{DISABLE_ENV: "second"}).by_model_type("contested").key == "a"


def test_neither_order_nor_name_decides_a_dispute(install: Installer) -> None:
    install.add("zebra", plugin_source(family_source("same", "x")))
    install.add("ant", plugin_source(family_source("same", "y")))
    registry = install.registry()
    assert registry.families == ()
    assert "key 'same' is claimed by zebra and ant" in (plugin_status(registry, "zebra").problem or "")
    for model_type in ("x", "y"):
        with pytest.raises(FamilyError, match="claimed by ant and zebra"):
            registry.by_model_type(model_type)


def test_a_dispute_within_one_plugin(install: Installer) -> None:
    install.add("twice", plugin_source(family_source("a", "t"), family_source("b", "t")))
    registry = install.registry()
    assert registry.families == ()
    assert "two of its families claim model type 't'" in (plugin_status(registry, "twice").problem or "")


def test_the_off_switch_imports_nothing(install: Installer) -> None:
    install.add("loud", "raise RuntimeError\n")
    install.add("sound", plugin_source(family_source("sound")))
    registry = install.registry(**{DISABLE_ENV: " loud , nobody"})
    assert plugin_status(registry, "loud").status == "disabled"
    assert "garden_loud" not in sys.modules
    assert registry.unknown_disabled == ("nobody",)
    assert [one.key for one in registry.families] == ["sound"]
    assert install.registry(**{DISABLE_ENV: "all"}).families == ()


def test_without_any_plugin_every_base_model_is_refused_with_what_to_install(install: Installer) -> None:
    registry = install.registry()
    for ask in (lambda: registry.resolve("tiny"), lambda: registry.resolve("Owner/Model", fetch=True)):
        with pytest.raises(FamilyError, match="no model family is installed") as caught:
            ask()
        assert "pip install model-garden-tui" in (caught.value.hint or "")


def test_an_unknown_model_type_lists_what_is_installed(install: Installer) -> None:
    install.add("sound", plugin_source(family_source("sound", "sound_type")))
    install.add("broken", "raise RuntimeError\n")
    with pytest.raises(FamilyError, match="handles model type 'exotic'") as caught:
        install.registry().by_model_type("exotic")
    assert "sound (sound_type)" in (caught.value.why or "")
    assert "disabled or broken: broken" in (caught.value.hint or "")


def test_the_example_in_the_hooks_docstring_is_a_working_plugin(install: Installer) -> None:
    import textwrap

    from mg_tui.families import hookspec

    documentation = textwrap.dedent(hookspec.mg_model_families.__doc__ or "")
    text = documentation.split("by its Auto classes:\n")[1].split("and its distribution")[0]
    install.add("smolvlm", textwrap.dedent(text.replace("\n\n    ", "\n\n    ")))
    registry = install.registry()
    assert plugin_status(registry, "smolvlm").problem is None
    assert registry.by_model_type("smolvlm").title == "SmolVLM"


def test_loading_every_installed_plugin_imports_neither_torch_nor_transformers() -> None:
    script = (
        "import sys\n"
        "from mg_tui.families.registry import load_registry\n"
        "registry = load_registry()\n"
        "assert 'qwen2_5_vl' in [family.key for family in registry.families], registry.plugins\n"
        "heavy = {'torch', 'transformers', 'peft', 'numpy', 'PIL', 'httpx', 'huggingface_hub', 'textual'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("version", "who"), [(1, "the plugin"), (99, "Model Garden")])
def test_a_plugin_for_another_contract(install: Installer, version: int, who: str) -> None:
    file = install.add("old", f"CONTRACT_VERSION = {version}\n" + plugin_source(family_source("old")))
    install.add("sound", plugin_source(family_source("sound")))
    registry = install.registry()
    status = plugin_status(registry, "old")
    assert status.status == "broken" and status.problem is not None
    assert f"written for version {version} of the contract" in status.problem and f"update {who}" in status.problem
    assert str(file) in status.problem
    assert [family.key for family in registry.families] == ["sound"]


def test_a_promise_that_the_declaration_rules_out(install: Installer) -> None:
    """Capabilities that follow from attention and layout can be narrowed and not widened."""
    extra = ", attention=Attention('recurrent', why='its state layers'), capabilities={'packing': Supported()}, "
    extra += "layout=TokenLayout(grid=lambda width, height, limits: (1, 1))"
    imports = "from mg_tui.families import Attention, Supported, TokenLayout\n"
    install.add("bold", imports + plugin_source(family_source("bold", extra=extra)))
    status = plugin_status(install.registry(), "bold")
    assert status.status == "broken"
    assert "capability packing is declared as Supported, and cannot be: its state layers" in str(status.problem)


def test_a_plugin_installed_into_a_running_garden_is_seen_at_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mg_tui.cli.plugin_template import write_plugin

    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    before = {family.key for family in reload_registry().families}
    assert "late_family" not in before

    write_plugin("late_family", site)
    described = site / "model_garden_late_family-0.1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: model-garden-late-family\nVersion: 0.1.0\n")
    (described / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\nlate_family = mg_late_family\n")
    assert {family.key for family in load_registry().families} == before
    try:
        assert {family.key for family in reload_registry().families} == before | {"late_family"}
        assert load_registry().by_key("late_family").title == "late_family"
        with pytest.raises(FamilyError, match="named 'nothing'"):
            load_registry().by_key("nothing")
    finally:
        monkeypatch.undo()
        sys.modules.pop("mg_late_family", None)
        assert {family.key for family in reload_registry().families} == before
