"""The store of features: right or absent, within its budget, whatever happens to its files."""

import os
from pathlib import Path

import pytest

from mg_tui.data.feature_store import CachedFeatures, FeatureStore

KEY = "ab" * 32


def make_features(size: int = 100, fill: int = 7) -> CachedFeatures:
    return CachedFeatures((size,), "uint8", (640, 480), bytes([fill]) * size)


def keys(count: int) -> list[str]:
    return [f"{number:064x}" for number in range(count)]


def age_entries(store: FeatureStore) -> None:
    for path in store.folder.glob("??/*"):
        os.utime(path, (1, 1))


def test_round_trip_and_another_process_s_view(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, 10_000)
    assert store.get(KEY) is None
    assert store.put(KEY, make_features())
    assert FeatureStore(tmp_path, 10_000).get(KEY) == make_features()
    assert (store.stats().entries, store.hits, store.misses) == (1, 0, 1)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "junk", "header"])
def test_a_damaged_file_is_absent_and_goes(tmp_path: Path, damage: str) -> None:
    store = FeatureStore(tmp_path, 10_000)
    store.put(KEY, make_features())
    (path,) = tmp_path.glob("??/*")
    content = bytearray(path.read_bytes())
    match damage:
        case "cut":
            content = content[:-3]
        case "flip":
            content[-1] ^= 1
        case "empty":
            content = bytearray()
        case "junk":
            content = bytearray(b"\x00" * 50)
        case "header":
            content[9] ^= 0xFF
    path.write_bytes(content)
    assert store.get(KEY) is None
    assert not path.exists()


def test_the_budget_holds_and_what_is_in_use_stays(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, 2_000)
    stored = [store.put(key, make_features()) for key in keys(30)]
    assert True in stored and False in stored  # full of what this run uses: no more is taken
    assert store.stats().bytes <= 2_000
    assert store.get(keys(1)[0]) is not None


def test_what_nobody_used_makes_room(tmp_path: Path) -> None:
    before = FeatureStore(tmp_path, 2_000)
    for key in keys(30):
        before.put(key, make_features())
    age_entries(before)
    store = FeatureStore(tmp_path, 2_000)
    used = keys(1)[0]
    assert store.get(used) is not None  # touched: in use from now on
    assert all(store.put(f"{number:064x}", make_features(fill=9)) for number in range(100, 105))
    assert store.get(used) == make_features()
    assert store.stats().bytes <= 2_000


def test_clear(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, 10_000)
    store.put(KEY, make_features())
    assert store.clear().entries == 1
    assert store.stats().entries == 0


def test_a_full_disk_is_a_refusal_not_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    store = FeatureStore(tmp_path, 10_000)
    monkeypatch.setattr(Path, "write_bytes", full)
    assert not store.put(KEY, make_features())
    assert store.rejected == 1
