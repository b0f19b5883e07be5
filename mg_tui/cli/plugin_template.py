"""`model-garden plugins new`: a package of a model family that passes the conformance kit at once, to be edited."""

import keyword
import re
from pathlib import Path
from typing import Final

import click

from mg_tui.core.errors import UsageError

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")

_PYPROJECT: Final = """\
[project]
name = "model-garden-{dashed}"
version = "0.1.0"
description = "{key} for Model Garden."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["model-garden-tui"]

[project.entry-points."mg_tui.families"]
{key} = "mg_{key}"

[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[tool.hatch.build.targets.wheel]
packages = ["mg_{key}"]
"""

_README: Final = """\
# {key} for Model Garden

A model family: `mg_{key}/__init__.py` declares it. It stands in for yours with the architecture of LLaVA.

1. Replace `model_types`, `parts`, `layout`, `vision` and `tiny` by those of your architecture; `docs/families.md` of
   Model Garden says how to find them.
2. Run the conformance kit: `pytest tests`.
3. Install it: `pip install .` (or `uv pip install .`); `model-garden plugins` lists it.
"""

_FAMILY: Final = '''\
"""{key} for Model Garden: data about the architecture. Loading and collating use the defaults."""

from collections.abc import Iterator
from typing import Final

from mg_tui.families import (
    CONTRACT_VERSION as CONTRACT_VERSION,  # of the contract that this was written for
)
from mg_tui.families import (
    ImageSize,
    ModelFamily,
    Parts,
    Preprocessing,
    TinyCheckpoint,
    TokenLayout,
    Vision,
    hookimpl,
)
from mg_tui.families.tiny_checkpoints import tiny_template


def token_grid(width: int, height: int, limits: Preprocessing) -> tuple[int, int]:
    """Rows and columns of an image's tokens: every image is resized to one square."""
    crop = limits.settings.get("crop_size") or {{"height": 336}}
    side = int(crop["height"]) // int(limits.settings.get("patch_size", 14))
    return side, side


FAMILY: Final = ModelFamily(
    key="{key}",
    title="{key}",
    # The values of `model_type` in config.json that select it.
    model_types=("llava",),
    parts=Parts(
        language=("model.language_model", "lm_head"),
        projector=("model.multi_modal_projector",),
        vision=("model.vision_tower",),
    ),
    # What the kit shows is supported; exceptions are said here: capabilities={{"nf4": Unsupported("why")}}.
    layout=TokenLayout(grid=token_grid),
    vision=Vision(features="list"),
    image_size=ImageSize("`crop_size` in the checkpoint's preprocessor_config.json"),
    # A random checkpoint of this kind, for the conformance kit.
    tiny=TinyCheckpoint(
        config={{
            "text_config": {{
                "model_type": "llama",
                "hidden_size": 64,
                "intermediate_size": 96,
                "num_hidden_layers": 3,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "max_position_embeddings": 4096,
            }},
            "vision_config": {{
                "model_type": "clip_vision_model",
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 3,
                "num_attention_heads": 2,
                "image_size": 42,
                "patch_size": 14,
                "projection_dim": 32,
            }},
            "image_seq_length": 9,
            "vision_feature_layer": -1,
            "tie_word_embeddings": False,
        }},
        processor=(
            "LlavaProcessor",
            {{"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}},
        ),
        image_processor=(
            "CLIPImageProcessor",
            {{"size": {{"shortest_edge": 42}}, "crop_size": {{"height": 42, "width": 42}}}},
        ),
        template=tiny_template("<image>"),
        tokens={{"image_token": "<image>"}},
        token_ids={{"image_token_index": "<image>"}},
    ),
)


@hookimpl
def mg_model_families() -> Iterator[ModelFamily]:
    """The hook of Model Garden."""
    yield FAMILY
'''

_TEST: Final = '''\
"""The conformance kit: on the declaration, and on a random checkpoint of the real classes."""

from mg_{key} import FAMILY

from mg_tui.families.testing import check_family, check_family_live


def test_the_declaration_is_sound() -> None:
    assert check_family(FAMILY) == []


def test_the_kit_finds_nothing() -> None:
    assert check_family_live(FAMILY) == []
'''

_FILES: Final = {
    "pyproject.toml": _PYPROJECT,
    "README.md": _README,
    "mg_{key}/__init__.py": _FAMILY,
    "mg_{key}/py.typed": "",
    "tests/test_family.py": _TEST,
}


@click.command(name="new")
@click.argument("name")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to write it; by default ./NAME.")
def new_plugin(name: str, folder: Path | None) -> None:
    """Write a package of a model family that passes the conformance kit, to be edited."""
    target = write_plugin(name, folder or Path(name))
    click.echo(f"Wrote {target}. It stands in for your family with the architecture of LLaVA.")
    click.echo(f"Next: edit {target / f'mg_{name}' / '__init__.py'}, then run `pytest {target / 'tests'}`.")


def write_plugin(name: str, folder: Path) -> Path:
    """Write the package; returns its folder.

    Raises:
        UsageError: the name is no identifier in lower case, or the folder is not empty.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} cannot be the name of a family",
            why="it names a module: small letters, digits and _, and a letter first",
            hint="for example my_family",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError("there is something in the folder", where=str(folder), hint="name another with --folder")
    for path, text in _FILES.items():
        file = folder / path.format(key=name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.format(key=name, dashed=name.replace("_", "-")) if text else "", encoding="utf-8")
    return folder
