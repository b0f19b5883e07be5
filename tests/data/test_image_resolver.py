"""Where images are looked up, in which order, and the location that is reported."""

from pathlib import Path

import pytest
from PIL import Image

from mg_tui.core.spec import TrainingSpec
from mg_tui.data.from_spec import image_resolver_from_spec, load_dataset_from_spec, open_source_from_spec
from mg_tui.data.image_resolver import ImageResolver
from mg_tui.data.images import ImageError
from mg_tui.preflight.dataset_check import read_options


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    created = {name: tmp_path / name for name in ("data", "root", "cwd")}
    for folder in created.values():
        folder.mkdir()
    return created


def save_image(folder: Path, name: str) -> Path:
    Image.new("RGB", (4, 4)).save(folder / name)
    return folder / name


def test_order_of_locations(places: dict[str, Path]) -> None:
    for name, folders in {"1.png": ("data", "root", "cwd"), "2.png": ("root", "cwd"), "3.png": ("cwd",)}.items():
        for folder in folders:
            save_image(places[folder], name)
    resolver = ImageResolver(places["data"], places["root"], places["cwd"])
    assert resolver.resolve("1.png").ref.path == str(places["data"] / "1.png")
    assert resolver.resolve("2.png").ref.path == str(places["root"] / "2.png")
    assert resolver.resolve("./2.png").ref.path == str(places["root"] / "2.png")
    assert resolver.resolve("3.png").ref.path == str(places["cwd"] / "3.png")
    assert resolver.resolve(str(places["cwd"] / "3.png")).ref.original == str(places["cwd"] / "3.png")
    names = ("1.png", "2.png", "./2.png", "3.png", str(places["cwd"] / "3.png"))
    locations = ["dataset folder", "image root", "image root", "working folder", "absolute path"]
    assert [resolver.resolve(name).location for name in names] == locations


def test_a_folder_of_that_name_does_not_hide_a_file(places: dict[str, Path]) -> None:
    (places["data"] / "1.png").mkdir()
    save_image(places["root"], "1.png")
    assert ImageResolver(places["data"], places["root"], places["cwd"]).resolve("1.png").ref.path.endswith("root/1.png")


def test_without_a_root(places: dict[str, Path]) -> None:
    with pytest.raises(ImageError) as caught:
        ImageResolver(places["data"], cwd=places["cwd"]).resolve("x/1.png")
    assert caught.value.reason == f"does not exist; tried {places['data']}/x/1.png, {places['cwd']}/x/1.png"
    assert "--image-root" in str(caught.value.hint)


def test_one_file_has_one_path(places: dict[str, Path], tmp_path: Path) -> None:
    save_image(places["data"], "1.png")
    (tmp_path / "link").symlink_to(places["data"])
    resolver = ImageResolver(places["data"], places["root"], places["cwd"])
    spellings = ["1.png", "../data/1.png", "./../data//1.png", str(tmp_path / "link" / "1.png")]
    assert {resolver.resolve(reference).ref.path for reference in spellings} == {str(places["data"] / "1.png")}


def test_homes_file_addresses_and_backslashes(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(places["root"]))
    save_image(places["root"], "1 a.png")
    resolver = ImageResolver(places["data"], None, places["cwd"])
    assert resolver.resolve("~/1 a.png").ref.path == str(places["root"] / "1 a.png")
    assert resolver.resolve(f"file://{places['root']}/1%20a.png").ref.path == str(places["root"] / "1 a.png")
    for reference, expected in (
        ("file://other/x.png", "a remote machine"),
        ("s3://bucket/x.png", "only http and https"),
        ("~nobody-at-all/x.png", "does not exist"),
    ):
        with pytest.raises(ImageError, match=expected):
            resolver.resolve(reference)
    with pytest.raises(ImageError) as caught:
        resolver.resolve("images\\1.png")
    assert caught.value.hint == "use / as the path separator"


def test_colons_in_names_are_no_schemes(places: dict[str, Path]) -> None:
    save_image(places["data"], "scan:01.png")
    assert ImageResolver(places["data"]).resolve("scan:01.png").ref.path.endswith("scan:01.png")


def test_addresses_need_a_cache(places: dict[str, Path]) -> None:
    with pytest.raises(ImageError, match="no cache folder"):
        ImageResolver(places["data"]).resolve("https://example.com/a.png")


def test_reasons_other_than_missing_are_said(places: dict[str, Path]) -> None:
    (places["data"] / "loop.png").symlink_to(places["data"] / "loop.png")
    resolver = ImageResolver(places["data"], None, places["cwd"])
    for reference in ("loop.png", "x" * 300, "a\0b"):
        with pytest.raises(ImageError, match="is not a file; tried"):
            resolver.resolve(reference)


def test_a_home_folder_in_the_image_root_is_expanded(
    places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every place that reads the option: the run, its resolver, and the check before it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    image = save_image(places["root"], "1.png")
    file = places["data"] / "rows.jsonl"
    file.write_text('{"text": "what?", "image": "1.png", "response": "that"}\n')
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": str(file), "image_root": "~/root"})
    dataset = load_dataset_from_spec(spec, cwd=places["cwd"], cache=tmp_path / "cache", check_images="header")
    assert [shown.path for shown in dataset.examples[0].images] == [str(image)]
    source, detected = open_source_from_spec(spec, cwd=places["cwd"], cache=tmp_path / "cache")
    resolver = image_resolver_from_spec(spec, source, cwd=places["cwd"], cache=tmp_path / "cache")
    assert resolver.resolve("1.png").ref.path == str(image)
    options = read_options(spec, detected, cwd=places["cwd"], cache=tmp_path / "cache")
    assert options.image_root == places["root"]
