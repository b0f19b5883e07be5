"""What was seen in image files is believed only while the file is the same, and its store decides nothing."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from mg_tui.data.image_info_cache import ImageInfoCache
from mg_tui.data.images import probe_image


@pytest.fixture
def file(tmp_path: Path) -> str:
    Image.new("RGB", (20, 30)).save(tmp_path / "a \udcff.png".encode("utf-8", "surrogateescape").decode("latin-1"))
    (path,) = tmp_path.glob("*.png")
    return str(path)


def test_what_was_seen_is_there_for_the_next_process(file: str, tmp_path: Path) -> None:
    info = probe_image(file)
    first = ImageInfoCache(tmp_path / "cache")
    first.put(file, info, decoded=False)
    first.close()
    second = ImageInfoCache(tmp_path / "cache")
    assert second.get(file, decoded=False) == info
    assert second.get(file, decoded=True) is None, "a header says nothing of the pixels"
    second.put(file, info, decoded=True)
    second.flush()
    assert second.get(file, decoded=True) == second.get(file, decoded=False) == info
    second.close()


@pytest.mark.parametrize("change", ["time", "size", "gone"])
def test_a_changed_file_is_unknown(file: str, tmp_path: Path, change: str) -> None:
    info_cache = ImageInfoCache(tmp_path / "cache")
    info_cache.put(file, probe_image(file), decoded=True)
    info_cache.flush()
    match change:
        case "time":
            os.utime(file, ns=(1, 1))
        case "size":
            stamp = Path(file).stat()
            Path(file).write_bytes(Path(file).read_bytes() + b"x")
            os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        case "gone":
            Path(file).unlink()
    assert info_cache.get(file, decoded=False) is None
    info_cache.close()


def test_a_store_that_cannot_be_used_is_an_empty_one(file: str, tmp_path: Path) -> None:
    (tmp_path / "junk" / "looks").mkdir(parents=True)
    (tmp_path / "junk" / "looks" / "looks.sqlite").write_bytes(b"not a database" * 1000)
    (tmp_path / "taken").write_text("a file")
    for cache in (None, tmp_path / "junk", tmp_path / "taken"):
        info_cache = ImageInfoCache(cache)
        info_cache.put(file, probe_image(file), decoded=True)
        info_cache.close()
        assert info_cache.get(file, decoded=False) is None


def test_many_threads_and_two_stores(file: str, tmp_path: Path) -> None:
    info = probe_image(file)
    stores = [ImageInfoCache(tmp_path / "cache"), ImageInfoCache(tmp_path / "cache")]

    def work(number: int) -> bool:
        store = stores[number % 2]
        store.put(file, info, decoded=False)
        if number % 7 == 0:
            store.flush()
        return store.get(file, decoded=False) in (None, info)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(400)))
    for store in stores:
        store.flush()
        assert store.get(file, decoded=False) == info
        store.close()
