"""What checks count without images is what training counts with them."""

from pathlib import Path

import pytest
from PIL import Image

from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.data.images import probe_image
from mg_tui.data.loaded_dataset import Dataset
from mg_tui.engine.batching.batches import collate, open_images
from mg_tui.engine.batching.token_counts import choose_token_measure
from mg_tui.engine.inference.count_tokens import count_conversations
from mg_tui.engine.inference.inspect_tokens import OpenRequest, open_encoder
from mg_tui.preflight.token_counter import _conversation_record


@pytest.fixture(scope="module")
def encoder():
    return open_encoder(OpenRequest(base_model="tiny", system_prompt="Be brief."))


def examples(folder: Path) -> list[Example]:
    refs = []
    for name, size in (("a.png", (224, 224)), ("b.png", (500, 90)), ("c.png", (31, 1200))):
        Image.new("RGB", size).save(folder / name)
        refs.append(ImagePart(ImageRef(str(folder / name), name)))
    a, b, c = refs
    ask, say = TextPart("What is it? <|image_pad|> \u00e9\U0001f600"), TextPart("A wall.\n")
    return [
        Example(1, (Message("user", (a, ask)), Message("assistant", (say,)))),
        Example(2, (Message("user", (ask,)), Message("assistant", (say,)))),
        Example(3, (Message("user", (a, ask, b, ask, c)), Message("assistant", (say,)))),
        Example(
            4,
            (
                Message("system", (TextPart("Speak."),)),
                Message("user", (c, ask)),
                Message("assistant", (say,), supervised=False),
                Message("user", (ask,)),
                Message("assistant", (say,)),
            ),
        ),
    ]


def test_counts_without_images_are_those_of_training(encoder, tmp_path: Path) -> None:
    rows = examples(tmp_path)
    infos = {ref.path: probe_image(ref.path) for example in rows for ref in example.images}
    measure, _why = choose_token_measure(encoder)
    tokens = measure(Dataset(tmp_path, rows, (), image_infos=infos))
    for example, total, images in zip(rows, tokens.totals, tokens.images, strict=True):
        (counted,) = count_conversations(encoder, [_conversation_record(example)])
        assert isinstance(counted, tuple)
        text, supervised = counted
        assert text - len(example.images) + images == total
        opened = open_images([example])
        batch = collate([example], opened, encoder)
        opened_images = [opened[ref.path] for ref in example.images]
        assert batch.tokens == total
        assert supervised == int((encoder.encode(example, opened_images).labels != -100).sum())


def test_what_cannot_be_counted_says_why(encoder) -> None:
    turns = [["user", ["a\ufdd0"], True], ["assistant", ["b"], True]]
    noncharacter, no_answer = count_conversations(encoder, [turns, [["user", ["a"], True]]])
    assert "Unicode noncharacter" in noncharacter
    assert "does not end with a supervised answer" in no_answer
