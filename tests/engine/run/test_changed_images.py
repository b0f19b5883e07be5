"""Images replaced under the same names between two attempts: said, not silent."""

import json
import os
from pathlib import Path
from typing import Any

from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.batching import image_files
from mg_tui.engine.run import training_data
from mg_tui.runs import checkpoint_format
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader, JournalWriter


def test_images_replaced_between_attempts_are_said(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(b"one")
    example = Example(1, (Message("user", (ImagePart(ImageRef(str(image), "a.png")), TextPart("what?"))),))
    spec = TrainingSpec(base_model="tiny", dataset=str(tmp_path / "d.jsonl"))
    folder = RunFolder.create(tmp_path, spec)
    checkpoint = folder.checkpoints_dir / "step-000004"
    checkpoint.mkdir()

    def fingerprints() -> dict[str, str]:
        return training_data.fingerprints([example], image_files.collect_facts([str(image)]))

    def warnings(manifest: dict[str, Any]) -> list[str]:
        (checkpoint / "checkpoint.json").write_text(json.dumps(manifest))
        before = len(JournalReader(folder.journal_file).read_new())
        with JournalWriter(folder.journal_file) as journal:
            training_data.warn_if_data_changed(spec, checkpoint, fingerprints(), journal=journal)
        return [event.data["what"] for event in JournalReader(folder.journal_file).read_new()[before:]]

    then = checkpoint_format.make_manifest(4, fingerprints(), {})
    assert warnings(then) == []
    image.write_bytes(b"two")
    os.utime(image, ns=(1, 1))
    assert warnings(then) == ["image files have changed since the checkpoint was written"]
    del then["images"]  # of an older version
    assert warnings(then) == []
