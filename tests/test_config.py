"""garden.toml, the environment, and which wins."""

from pathlib import Path

import pytest

from mg_tui.config import load_settings
from mg_tui.core.errors import UsageError


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    return tmp_path / "user.toml"


def settings(tmp_path: Path, user_file: Path, **environ: str):  # type: ignore[no-untyped-def]
    return load_settings(environ={"MODEL_GARDEN_CONFIG": str(user_file), **environ}, cwd=tmp_path)


def test_later_wins(tmp_path: Path, user_file: Path) -> None:
    user_file.write_text('[train]\nlora_r = 8\nlora_alpha = 8\nbatch_size = 2\n[paths]\nhome = "/user/home"\n')
    (tmp_path / "garden.toml").write_text("[train]\nlora_alpha = 64\nbatch_size = 3\n")
    found = settings(tmp_path, user_file, MODEL_GARDEN_TRAIN_BATCH_SIZE="4")
    assert found.train == {"lora_r": 8, "lora_alpha": 64, "batch_size": "4"}
    assert found.home == Path("/user/home")
    assert found.sources == (user_file, tmp_path / "garden.toml")
    assert settings(tmp_path, user_file, MODEL_GARDEN_HOME="/env/home").home == Path("/env/home")
    chosen = load_settings(home=Path("flag"), environ={"MODEL_GARDEN_HOME": "/env"}, cwd=tmp_path)
    assert chosen.home == Path.cwd() / "flag"


def test_lists_in_the_environment_are_written_with_commas(tmp_path: Path, user_file: Path) -> None:
    assert settings(tmp_path, user_file, MODEL_GARDEN_TRAIN_REPORT_TO="wandb,mlflow").train["report_to"] == (
        "wandb",
        "mlflow",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[train]\nlerning_rate = 1\n", "lerning_rate"),
        ("[trian]\n", "trian"),
        ("home = 1\n", "home"),
        ("[train\n", "not TOML"),
    ],
)
def test_a_file_that_means_nothing_is_said(tmp_path: Path, user_file: Path, text: str, words: str) -> None:
    user_file.write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        settings(tmp_path, user_file)
    assert caught.value.where == str(user_file)


def test_a_misspelt_variable_is_said(tmp_path: Path, user_file: Path) -> None:
    with pytest.raises(UsageError, match="LERNING_RATE"):
        settings(tmp_path, user_file, MODEL_GARDEN_TRAIN_LERNING_RATE="1")


def test_the_example_in_the_repository_is_what_it_says(user_file: Path) -> None:
    root = Path(__file__).resolve().parent.parent
    found = settings(root, user_file)
    assert found.sources == (root / "garden.toml",)
    assert found.train == {}  # everything in it is a comment: it shows, and changes nothing
