"""A run's folder: whole or not there."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mg_tui.core.errors import EnvironmentProblem, SpecError, UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs import folder as folders
from mg_tui.runs.folder import RunFolder, spec_digest
from mg_tui.runs.journal import JournalReader
from mg_tui.runs.store import list_runs


def test_what_is_in_a_new_folder(folder: RunFolder, spec: TrainingSpec) -> None:
    (created,) = JournalReader(folder.journal_file).read_new()
    assert created.kind == "created"
    assert created.data == {
        "name": None,
        "spec_digest": spec_digest(spec),
        "versions": {"python": "3"},
        "cwd": str(Path.cwd()),
    }
    assert folder.read_spec() == spec
    assert folder.spec_values()["base_model"] == "tiny"
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "checkpoints",
        "control",
        "events.jsonl",
        "lock",
        "samples",
        "spec.json",
        "worker.log",
    ]


@pytest.mark.parametrize(
    ("name", "slug"),
    [(None, ""), ("My Run!", "-my-run"), ("../../etc", "-etc"), ("图像", ""), ("a" * 99, "-" + "a" * 40), ("--", "")],
)
def test_ids(tmp_path: Path, spec: TrainingSpec, name: str | None, slug: str) -> None:
    made = RunFolder.create(tmp_path, spec.model_copy(update={"name": name}))
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-z]{4}" + slug, made.id)
    assert made.path.parent == tmp_path / "runs"


def test_the_digest_is_of_the_values(spec: TrainingSpec) -> None:
    assert spec_digest(spec) == spec_digest(TrainingSpec.model_validate(json.loads(spec.model_dump_json())))
    assert spec_digest(spec) != spec_digest(spec.model_copy(update={"seed": 1}))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff"])
def test_a_broken_spec(folder: RunFolder, text: str) -> None:
    folder.spec_file.write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match="Cannot read the run's spec") as caught:
        folder.read_spec()
    assert caught.value.where == str(folder.spec_file)


def test_a_spec_of_another_version_names_the_field(folder: RunFolder) -> None:
    folder.spec_file.write_text(json.dumps({**folder.spec_values(), "telepathy": True}))
    with pytest.raises(SpecError, match="telepathy"):
        folder.read_spec()


def test_nothing_is_left_when_it_cannot_be_made(
    tmp_path: Path, spec: TrainingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(folders, "write_atomic", full)
    with pytest.raises(EnvironmentProblem, match="Cannot create the run folder") as caught:
        RunFolder.create(tmp_path, spec)
    assert caught.value.why == "No space left on device"
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_home_that_cannot_be_made(tmp_path: Path, spec: TrainingSpec) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentProblem) as caught:
        RunFolder.create(tmp_path / "file", spec)
    assert "--home" in str(caught.value)


@pytest.mark.parametrize("at", ["os.fsync", "Path.mkdir", "JournalWriter.write", "Path.rename"])
def test_killed_half_way_no_run_is_visible(tmp_path: Path, at: str) -> None:
    script = f"""
import os, signal, sys
from pathlib import Path
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
home = Path(sys.argv[1])
(home / "runs").mkdir(parents=True)
spec = TrainingSpec(base_model="tiny", dataset="/x")
owner, name = {at.rsplit(".", 1)[0]}, {at.rsplit(".", 1)[1]!r}
real = getattr(owner, name)
def die(*args, **kwargs):
    if name != "mkdir" or ".new-" in str(args[0].parent):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)
setattr(owner, name, die)
RunFolder.create(home, spec)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list((tmp_path / "runs").iterdir())) == 1
    assert list_runs(tmp_path) == []


def test_what_a_dead_creation_left_is_swept_up_later(tmp_path: Path, spec: TrainingSpec) -> None:
    runs = tmp_path / "runs"
    old, young = runs / ".new-old", runs / ".new-young"
    for left in (old, young):
        left.mkdir(parents=True)
        (left / "spec.json").touch()
    long_ago = time.time() - 7_200
    os.utime(old, (long_ago, long_ago))
    RunFolder.create(tmp_path, spec)
    assert not old.exists()
    assert young.exists()


def test_many_at_the_same_moment_have_different_ids(tmp_path: Path, spec: TrainingSpec) -> None:
    made = [RunFolder.create(tmp_path, spec) for _ in range(20)]
    assert len({folder.id for folder in made}) == 20
