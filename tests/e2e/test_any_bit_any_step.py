"""One flipped bit anywhere in a run's files, and a stop at any step: the same result, or a refusal that names the file.

The ones marked slow are the whole suite of docs/faults.md; the others are the same with few places.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import GardenError
from mg_tui.data.feature_store import FeatureStore
from mg_tui.engine.monitoring.run_history import read_run_history
from mg_tui.runs import checkpoint_format, queue
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader
from mg_tui.runs.spec_check import require_unchanged_spec

pytestmark = pytest.mark.timeout(7200)
SEED = 20261130
KINDS = ("journal", "spec", "checkpoint", "manifest", "features")
PLACES = 300
TRAINED_TO_THE_END = 60  # places of each kind after which a worker runs to the end; 300 in all

# Everything that a step may owe: an evaluation, a checkpoint, the best one, samples.
OPTIONS: dict[str, Any] = {
    "eval_split": 0.34,
    "eval_steps": 2,
    "save_steps": 2,
    "sample_count": 1,
    "result_from": "best",
    "vision_cache": "on",
}


def events(folder: RunFolder, kind: str) -> list[dict[str, Any]]:
    return [dict(event.data) for event in JournalReader(folder.journal_file).read_new() if event.kind == kind]


def outcome(folder: RunFolder) -> dict[str, Any]:
    """What a run gives: its weights, and by step the last loss, evaluation and samples."""
    found = {
        "weights": hashlib.sha256((folder.model_dir / "adapter_model.safetensors").read_bytes()).hexdigest(),
        "result_step": events(folder, "finished")[-1]["result_step"],
    }
    for kind, names in (("step", ("loss", "grad_norm")), ("eval", ("loss",)), ("sample", ("row", "answer"))):
        found[kind] = {event["step"]: [event[name] for name in names] for event in events(folder, kind)}
    return found


# --- bits ------------------------------------------------------------------------------------------------------------


@dataclass
class Interrupted:
    """A run that was killed, with its features, and what it gives when nothing is damaged."""

    lab: Any
    folder: RunFolder
    features: Path
    expected: dict[str, Any]

    def copy(self, to: Path) -> tuple[RunFolder, Path]:
        folder, features = RunFolder(to / "home" / "runs" / self.folder.id), to / "cache" / "features"
        shutil.copytree(self.folder.path, folder.path)
        shutil.copytree(self.features, features)
        return folder, features

    def files(self, kind: str, folder: RunFolder, features: Path) -> list[Path]:
        """The files of a kind."""
        manifest = checkpoint_format.MANIFEST_FILE
        saved = [path for path in sorted(folder.checkpoints_dir.rglob("*")) if path.is_file()]
        return {
            "journal": [folder.journal_file],
            "spec": [folder.spec_file],
            "checkpoint": [path for path in saved if path.name != manifest],
            "manifest": [path for path in saved if path.name == manifest],
            "features": sorted(path for path in features.rglob("*") if path.is_file()),
        }[kind]


@pytest.fixture(scope="module")
def interrupted(lab: Any, tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    """Killed after step 5 of 6, with the checkpoints of steps 2 and 4."""
    cache = tmp_path_factory.mktemp("cache")
    folder = lab.run(max_steps=6, **OPTIONS)

    def before() -> None:
        os.environ["MODEL_GARDEN_CACHE"] = str(cache)
        at_step_begin(6, lambda: os.kill(os.getpid(), signal.SIGKILL))()

    assert lab.start(folder, before).code() == -signal.SIGKILL
    undisturbed = lab.run(max_steps=6, **OPTIONS)
    lab.run_to_end(undisturbed)
    found = Interrupted(lab, folder, cache / "features", outcome(undisturbed))
    assert [checkpoint_format.step_of(p) for p in checkpoint_format.list_valid(folder.checkpoints_dir)] == [2, 4]
    assert found.files("features", folder, found.features)
    return found


def flip(path: Path, place: random.Random) -> tuple[int, int]:
    """Flip one bit; returns its byte and its number."""
    data = bytearray(path.read_bytes())
    byte, bit = place.randrange(len(data)), place.randrange(8)
    data[byte] ^= 1 << bit
    path.write_bytes(bytes(data))
    return byte, bit


def what_a_worker_uses(folder: RunFolder, features: Path) -> dict[str, Any]:
    """Everything that a resumed run depends on, as its worker reads it."""
    history = read_run_history(folder)
    require_unchanged_spec(folder, history.spec_digest, history.spec_values)
    spec = folder.read_spec().model_dump(mode="json")
    newest, _damaged = checkpoint_format.newest_valid(folder.checkpoints_dir)
    best = checkpoint_format.best_valid(folder.checkpoints_dir)
    store = FeatureStore(features, 1 << 30)
    keys = sorted(path.stem for path in features.rglob("*") if path.is_file())
    return {
        "spec": spec,
        "cwd": history.cwd,
        "checkpoint": newest and read_checkpoint(newest),
        "best": best and (best.step, best.eval_loss),
        "features": {key: store.get(key) for key in keys},
    }


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """Its files, and of its manifest what is used."""
    manifest = checkpoint_format.read_manifest(folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != checkpoint_format.MANIFEST_FILE}
    return files | {name: manifest.get(name) for name in ("step", "run", "steps", "data", "images", "eval_loss")}


def assert_used_as_written_or_refused(interrupted: Interrupted, kind: str, places: int, tmp_path: Path) -> None:
    """Flip a bit at each of so many places: nothing that was changed is used."""
    folder, features = interrupted.copy(tmp_path)
    pristine = what_a_worker_uses(folder, features)
    older_only = tmp_path / "older"
    shutil.copytree(folder.path, older_only)
    shutil.rmtree(checkpoint_format.folder_of(older_only / "checkpoints", 4))
    older = what_a_worker_uses(RunFolder(older_only), features)
    place = random.Random(f"{SEED} {kind}")
    for _ in range(places):
        path = place.choice(interrupted.files(kind, folder, features))
        content = path.read_bytes()
        where = (path.name, *flip(path, place))
        try:
            used = what_a_worker_uses(folder, features)
        except GardenError as error:
            assert path.name in str(error), where
        else:
            assert used["spec"] == pristine["spec"], where
            assert used["checkpoint"] in (pristine["checkpoint"], older["checkpoint"]), where
            assert used["best"] in (pristine["best"], older["best"], None) or kind == "checkpoint", where
            for key, entry in used["features"].items():
                assert entry in (None, pristine["features"][key]), where
        path.write_bytes(content)


def assert_resumed_exactly_or_refused(interrupted: Interrupted, kind: str, places: int, tmp_path: Path) -> None:
    """The same with a worker that runs to the end."""
    place = random.Random(f"{SEED} {kind} end")
    counts = {"resumed": 0, "refused": 0}
    for number in range(places):
        folder, features = interrupted.copy(tmp_path / str(number))
        path = place.choice(interrupted.files(kind, folder, features))
        where = (path.name, *flip(path, place))
        code = interrupted.lab.start(
            folder, lambda cache=features.parent: os.environ.update(MODEL_GARDEN_CACHE=str(cache))
        ).code()
        if code == 0:
            counts["resumed"] += 1
            assert outcome_of_resumed(folder, interrupted.expected) == interrupted.expected, where
        else:
            counts["refused"] += 1
            assert path.name in json.dumps(events(folder, "failed")[-1]), where
        shutil.rmtree(tmp_path / str(number))
    print(f"{kind}: {counts}")
    assert sum(counts.values()) == places


def outcome_of_resumed(folder: RunFolder, expected: dict[str, Any]) -> dict[str, Any]:
    """The outcome; what a damaged line of the journal had is taken from elsewhere: a damaged line costs itself."""
    found = outcome(folder)
    if any("of the journal cannot be read" in str(event["what"]) for event in events(folder, "warning")):
        for kind in ("step", "eval", "sample"):
            missing = expected[kind].keys() - found[kind].keys()
            assert len(missing) <= 1, f"more than that line is lost: {missing}"
            found[kind] |= {step: expected[kind][step] for step in missing}
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_bit_is_used(interrupted: Interrupted, kind: str, tmp_path: Path) -> None:
    assert_used_as_written_or_refused(interrupted, kind, 20, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_bit_at_three_hundred_places_is_used(interrupted: Interrupted, kind: str, tmp_path: Path) -> None:
    assert_used_as_written_or_refused(interrupted, kind, PLACES, tmp_path)


@pytest.mark.parametrize("kind", ["journal", "checkpoint"])
def test_after_a_flipped_bit_the_result_is_the_same(interrupted: Interrupted, kind: str, tmp_path: Path) -> None:
    assert_resumed_exactly_or_refused(interrupted, kind, 1, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_after_flipped_bits_the_result_is_the_same_often(interrupted: Interrupted, kind: str, tmp_path: Path) -> None:
    assert_resumed_exactly_or_refused(interrupted, kind, TRAINED_TO_THE_END, tmp_path)


def flip_queue_records(lab: Any, home: Path, places: int) -> None:
    """Of two queued runs the record of one is damaged: it loses its position at most, not its devices or its home."""
    first, second = lab.run(home), lab.run(home)
    queue.enqueue(first, ("cpu",), "test")
    queue.enqueue(second, ("1", "2"), "test")
    pristine = queue.read_queue_record(second)
    path, place = second.path / queue.QUEUE_FILE, random.Random(f"{SEED} queue")
    content = path.read_bytes()
    for _ in range(places):
        where = flip(path, place)
        record = queue.read_queue_record(second)
        assert (record.gpus, record.home) == (pristine.gpus, pristine.home), where
        assert record.held is False and record.place in (pristine.place, 0.0), where
        assert {entry.folder.id for entry in queue.list_queue(home)} == {first.id, second.id}
        path.write_bytes(content)


def test_a_flipped_bit_in_a_queue_record_costs_the_position_at_most(lab: Any, tmp_path: Path) -> None:
    flip_queue_records(lab, tmp_path, 40)


@pytest.mark.slow
def test_three_hundred_flipped_bits_in_a_queue_record(lab: Any, tmp_path: Path) -> None:
    flip_queue_records(lab, tmp_path, PLACES)


# --- stops -----------------------------------------------------------------------------------------------------------


def at_step_begin(number: int, act: Callable[[], object]) -> Callable[[], None]:
    """What a worker does when a step begins, as `before` of its start."""

    def patch() -> None:
        from mg_tui.engine.run.reporter import Reporter

        original = Reporter.on_step_begin

        def on_step_begin(self: Any, args: Any, state: Any, control: Any, **more: Any) -> Any:
            if state.global_step == number - 1:
                act()
            return original(self, args, state, control, **more)

        setattr(Reporter, "on_step_begin", on_step_begin)  # noqa: B010 - mypy takes no assignment to a method

    return patch


def assert_a_stop_changes_nothing(lab: Any, expected: dict[str, Any], step: int, options: dict[str, Any]) -> None:
    folder = lab.run(**options)
    began = time.monotonic()
    assert lab.start(folder, at_step_begin(step, lambda: os.kill(os.getpid(), signal.SIGTERM))).code() == 0
    ended = events(folder, "stopped") + events(folder, "finished")
    assert len(ended) == 1 and ended[0].get("step", step) == step
    if events(folder, "stopped"):
        lab.run_to_end(folder)
    assert outcome(folder) == expected, f"stopped in step {step}, after {time.monotonic() - began:.0f} s"
    shutil.rmtree(folder.path)


@pytest.mark.parametrize("step", [3, 4, 6])
def test_a_stop_in_a_step_changes_nothing(lab: Any, interrupted: Interrupted, step: int) -> None:
    """In one that owes nothing, in one that owes everything, and in the last."""
    assert_a_stop_changes_nothing(lab, interrupted.expected, step, {"max_steps": 6, **OPTIONS})


@pytest.mark.slow
def test_a_stop_in_each_of_forty_steps_changes_nothing(lab: Any) -> None:
    options = {"max_steps": 40, **OPTIONS, "eval_steps": 3, "save_steps": 4}
    undisturbed = lab.run(**options)
    lab.run_to_end(undisturbed)
    expected = outcome(undisturbed)
    assert len(expected["step"]) == 40 and len(expected["eval"]) >= 13 and len(expected["sample"]) >= 10
    for step in range(1, 41):
        assert_a_stop_changes_nothing(lab, expected, step, options)
