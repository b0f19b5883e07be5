"""Datasets of other tools, to the token: what is supervised are the answers, and nothing else."""

from pathlib import Path

import pytest

from mg_tui.data.dataset import load_dataset
from mg_tui.data.field_map import FieldMap
from mg_tui.families.collate import ExampleEncoder
from tests.data.foreign_corpus import QUESTIONED, READ, Sample, build
from tests.families.test_collate_multi_turn import supervised_texts


@pytest.mark.parametrize("sample", [*READ, *QUESTIONED], ids=str)
def test_the_supervised_tokens_are_those_of_the_answers(
    sample: Sample, tmp_path: Path, encoder: ExampleEncoder
) -> None:
    options = dict(sample.options)
    fields = FieldMap(**options.pop("fields", {}))
    name = build(sample, tmp_path)
    dataset = load_dataset(tmp_path / name, fields, cwd=tmp_path, cache=tmp_path / ".cache", **options)
    example = dataset.examples[0]
    answers = [f"{text}<|im_end|>" for role, text in sample.turns if role == "assistant"]
    assert supervised_texts(encoder, example, len(example.images)) == answers
