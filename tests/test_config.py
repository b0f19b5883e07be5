"""garden.toml, the environment, and which wins."""

from pathlib import Path

import pytest

from mg_tui.config import Settings, load_settings, write_config_value
from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.settings import SETTINGS_BY_ID


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    return tmp_path / "user.toml"


def settings(tmp_path: Path, user_file: Path, **environ: str) -> Settings:
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
        ("[train\n", "invalid TOML"),
        ('[ui]\ntheme = "nrod"\n', r"\[ui\] theme: got 'nrod'; choose one of garden, garden-light"),
        (
            "[ui]\nupdates_per_second = 9\n",
            r"updates_per_second: got 9; give a number of updates/s from 0.1 to 2",
        ),
        ("[ui]\nupdates_per_second = true\n", "updates_per_second: got True"),
        ("[paths]\nhome = 3\n", r"\[paths\] home: got 3; give a path"),
        ("[presets]\nmine = 3\n", r"write it as \[presets.mine\]"),
        ("[presets.mine]\nlora_rank = 3\n", r"unknown key lora_rank in \[presets.mine\]; did you mean lora_r"),
        ("[datasets]\nmine = 'a.jsonl'\n", r"write it as \[datasets.mine\]"),
        ("[datasets.mine]\nfile = 'a.jsonl'\n", r"unknown key file in \[datasets.mine\]"),
        ("[filters]\nmine = 3\n", r"\[filters\] mine: got 3; expected words"),
        ("[ui]\nrun_columns = ['state', 'color']\n", r"\[ui\] run_columns: got .*; choose any of state, name"),
        ("[keys]\n'run.stop' = 3\n", r"\[keys\] run.stop: got 3"),
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


def test_where_a_value_comes_from(tmp_path: Path, user_file: Path) -> None:
    user_file.write_text('[ui]\ntheme = "garden-light"\nupdates_per_second = 1\n')
    (tmp_path / "garden.toml").write_text("[ui]\nupdates_per_second = 0.5\n")
    found = settings(tmp_path, user_file, MODEL_GARDEN_UI_IMAGES="kitty")
    assert {
        name: where for name, where in found.origins.items() if not name.startswith(("runs.", "cost.", "server."))
    } == {
        "paths.home": "default",
        "paths.cache": "default",
        "ui.theme": str(user_file),
        "ui.updates_per_second": str(tmp_path / "garden.toml"),
        "ui.images": "MODEL_GARDEN_UI_IMAGES",
        "ui.notify": "default",
        "ui.terminal_title": "default",
        "ui.run_columns": "default",
    }
    assert [found.value(SETTINGS_BY_ID[f"ui.{name}"]) for name in ("theme", "updates_per_second", "images")] == [
        "garden-light",
        0.5,
        "kitty",
    ]
    assert load_settings(home=tmp_path, environ={}, cwd=tmp_path).origins["paths.home"] == "--home"
    with pytest.raises(UsageError, match="MODEL_GARDEN_UI_IMAGES: got 'ascii'") as caught:
        settings(tmp_path, user_file, MODEL_GARDEN_UI_IMAGES="ascii")
    assert caught.value.where == "environment"


def test_where_a_default_of_a_run_comes_from(tmp_path: Path, user_file: Path) -> None:
    user_file.write_text("[train]\nlora_r = 8\nepochs = 2\n")
    (tmp_path / "garden.toml").write_text("[train]\nepochs = 1\n")
    found = settings(tmp_path, user_file, MODEL_GARDEN_TRAIN_SEED="3")
    assert found.train_origins() == {
        "lora_r": str(user_file),
        "epochs": str(tmp_path / "garden.toml"),
        "seed": "MODEL_GARDEN_TRAIN_SEED",
    }


def test_presets_and_keys(tmp_path: Path, user_file: Path) -> None:
    user_file.write_text("[presets.mine]\nlora_r = 8\n[keys]\n'run.stop' = 'ctrl+x'\n'run.log' = ['l', 'f2']\n")
    found = settings(tmp_path, user_file)
    assert found.presets == {"mine": {"lora_r": 8}}
    assert found.keys == {"run.stop": "ctrl+x", "run.log": "l,f2"}


def test_datasets_with_a_name(tmp_path: Path, user_file: Path) -> None:
    user_file.write_text("[datasets.mine]\npath = 'a.csv'\nlayout = 'vqa'\n[datasets.other]\npath = 'b'\n")
    (tmp_path / "garden.toml").write_text("[datasets.mine]\npath = 'c.csv'\n")
    assert settings(tmp_path, user_file).datasets == {"mine": {"path": "c.csv"}, "other": {"path": "b"}}


def test_writing_keeps_comments_and_everything_else(tmp_path: Path, user_file: Path) -> None:
    before = "# mine\n[ui]  # looks\ntheme = 'garden' # dark\n\n# why\n[train]\nlora_r = 8\n"
    user_file.write_text(before)
    write_config_value(user_file, ("ui", "theme"), "garden-light")
    assert user_file.read_text() == before.replace("'garden'", '"garden-light"')
    write_config_value(user_file, ("presets", "QLoRA small"), {"lora_r": 4, "report_to": ["wandb"]})
    write_config_value(user_file, ("keys", "run.stop"), "ctrl+x")
    found = settings(tmp_path, user_file)
    assert found.presets == {"QLoRA small": {"lora_r": 4, "report_to": ["wandb"]}}
    assert found.keys == {"run.stop": "ctrl+x"} and found.train == {"lora_r": 8}
    write_config_value(user_file, ("presets", "QLoRA small"), None)
    write_config_value(user_file, ("ui", "theme"), None)
    write_config_value(user_file, ("nothing", "there"), None)
    text = user_file.read_text()
    assert "# mine" in text and "# looks" in text and "# why" in text
    assert settings(tmp_path, user_file).presets == {} and "theme" not in text
    assert [file.name for file in tmp_path.iterdir()] == ["user.toml"]


def test_a_file_that_cannot_be_written_stays_as_it_is(tmp_path: Path, user_file: Path) -> None:
    write_config_value(tmp_path / "new" / "garden.toml", ("ui", "theme"), "garden")
    assert (tmp_path / "new" / "garden.toml").read_text() == '[ui]\ntheme = "garden"\n'
    user_file.write_text("[ui\n")
    with pytest.raises(UsageError, match="invalid TOML"):
        write_config_value(user_file, ("ui", "theme"), "garden")
    assert user_file.read_text() == "[ui\n"
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        write_config_value(user_file / "below", ("ui", "theme"), "garden")


def test_every_setting_is_explained_and_its_default_is_accepted() -> None:
    for setting in SETTINGS_BY_ID.values():
        assert setting.title and setting.help.endswith(".") and setting.help[0].isupper()
        if setting.default is not None:
            assert setting.read(setting.default) == setting.default


def test_switches_and_prices(tmp_path: Path, user_file: Path) -> None:
    user_file.write_text("[runs]\nresume_interrupted = true\n[cost]\nper_kwh = 0.3\ncurrency = '$'\n")
    found = settings(tmp_path, user_file)
    assert found.resume_interrupted
    assert dict(found.cost) == {"per_kwh": 0.3, "currency": "$"}
    off = settings(tmp_path, user_file, MODEL_GARDEN_RUNS_RESUME_INTERRUPTED="no", MODEL_GARDEN_COST_PER_GPU_HOUR="2.5")
    assert not off.resume_interrupted
    assert off.cost["per_gpu_hour"] == 2.5
    assert not settings(tmp_path, user_file, MODEL_GARDEN_RUNS_RESUME_INTERRUPTED="0").resume_interrupted
    with pytest.raises(UsageError, match="RESUME_INTERRUPTED: got 'perhaps'; give true or false"):
        settings(tmp_path, user_file, MODEL_GARDEN_RUNS_RESUME_INTERRUPTED="perhaps")
    with pytest.raises(UsageError, match="COST_PER_KWH: got 'dear'; give a number from 0"):
        settings(tmp_path, user_file, MODEL_GARDEN_COST_PER_KWH="dear")
    with pytest.raises(UsageError, match="COST_CURRENCY: got"):
        settings(tmp_path, user_file, MODEL_GARDEN_COST_CURRENCY="\x1b[2J")
