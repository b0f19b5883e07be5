"""Rows of every layout become the conversation they say, or are rejected by row, field and reason."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.core.spec import TrainingSpec
from mg_tui.data.dataset import load_dataset
from mg_tui.data.embedded_images import EmbeddedImage, EmbeddedImageStore
from mg_tui.data.field_map import DraftTurn, ExampleDraft, FieldMap
from mg_tui.data.row_problems import RowProblem
from mg_tui.data.rows import Row
from mg_tui.data.sources.layouts import detect_layout, to_draft


def png(colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 14), colour).save(buffer, "PNG")
    return buffer.getvalue()


URI = "data:image/png;base64," + base64.b64encode(png()).decode()


def parse_row(values: dict[str, Any], cache: Path, **fields: Any) -> tuple[str, ExampleDraft | list[RowProblem]]:
    row = Row(7, values, None)
    layout, result, _certainty, _why = detect_layout([row], FieldMap(**fields))
    return layout, to_draft(row, layout, result, EmbeddedImageStore(cache))


def conversation(draft: ExampleDraft | list[RowProblem]) -> list[tuple[str, tuple[str | int, ...]]]:
    assert isinstance(draft, ExampleDraft), draft
    return [(turn.role, turn.parts) for turn in draft.turns]


QUESTION_AND_ANSWER = [("user", (0, "What?")), ("assistant", ("A cat.",))]


@pytest.mark.parametrize(
    ("values", "layout", "turns", "images"),
    [
        ({"text": "What?", "image": "a.jpg", "response": "A cat."}, "fields", QUESTION_AND_ANSWER, ["a.jpg"]),
        (
            {"messages": [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "A cat."}],
             "images": ["a.jpg"]},
            "messages", QUESTION_AND_ANSWER, ["a.jpg"],
        ),
        (  # ms-swift puts images first where there is no mark; LLaVA's newline belongs to the mark
            {"messages": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A cat."}],
             "images": [{"path": "a.jpg"}], "objects": None},
            "messages", QUESTION_AND_ANSWER, ["a.jpg"],
        ),
        (
            {"id": 3, "image": "a.jpg", "conversations": [
                {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}]},
            "conversations", QUESTION_AND_ANSWER, ["a.jpg"],
        ),
        (  # OpenAI's parts
            {"messages": [
                {"role": "user", "content": [
                    {"type": "image_url", "image_url": {"url": "a.jpg", "detail": "low"}},
                    {"type": "text", "text": "What?"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]}]},
            "messages", QUESTION_AND_ANSWER, ["a.jpg"],
        ),
        (  # parts from a table: every key is there, most are null
            {"messages": [
                {"role": "user", "content": [
                    {"type": "image", "text": None, "image": None}, {"type": "text", "text": "What?", "image": None}]},
                {"role": "assistant", "content": [{"type": "text", "text": "A cat.", "image": None}]}],
             "images": ["a.jpg"]},
            "messages", QUESTION_AND_ANSWER, ["a.jpg"],
        ),
        (
            {"texts": [{"user": "What?", "assistant": "A cat.", "source": "x"}], "images": ["a.jpg"]},
            "texts", QUESTION_AND_ANSWER, ["a.jpg"],
        ),
        (
            {"instruction": "What", "input": "is it?", "output": "A cat.", "images": ["a.jpg"]},
            "alpaca", [("user", (0, "What\nis it?")), ("assistant", ("A cat.",))], ["a.jpg"],
        ),
        (
            {"query": "And now?", "response": "A dog.", "history": [["<image>What?", "A cat."]], "images": ["a.jpg"]},
            "alpaca", [*QUESTION_AND_ANSWER, ("user", ("And now?",)), ("assistant", ("A dog.",))], ["a.jpg"],
        ),
        (
            {"question": "What?", "image": "a.jpg", "answers": ["A dog.", "A cat.", "A cat."]},
            "vqa", QUESTION_AND_ANSWER, ["a.jpg"],
        ),
        (
            {"question": "What?", "img_path": "a.jpg", "answers": [{"answer": "A cat.", "answer_id": 1}]},
            "vqa", QUESTION_AND_ANSWER, ["a.jpg"],
        ),
        (
            {"file_name": "a.jpg", "caption": "A cat."},
            "captions", [("user", (0, "Describe this image.")), ("assistant", ("A cat.",))], ["a.jpg"],
        ),
        (  # no image at all
            {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
            "messages", [("user", ("Hi",)), ("assistant", ("Hello",))], [],
        ),
        (  # several images, several turns, words of the system
            {"messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Is <image> like <image>?"}, {"role": "assistant", "content": "No."},
                {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Look."}],
             "images": ["a.jpg", "b.jpg"]},
            "messages",
            [("system", ("Be brief.",)), ("user", ("Is ", 0, " like ", 1, "?")), ("assistant", ("No.",)),
             ("user", ("Why?",)), ("assistant", ("Look.",))],
            ["a.jpg", "b.jpg"],
        ),
        (  # a table keeps lists as text
            {"messages": '[{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "A cat."}]',
             "images": '["a.jpg"]'},
            "messages", QUESTION_AND_ANSWER, ["a.jpg"],
        ),
    ],
)  # fmt: skip
def test_what_a_row_says(
    tmp_path: Path, values: dict[str, Any], layout: str, turns: list[Any], images: list[str]
) -> None:
    result, draft = parse_row(values, tmp_path)
    assert result == layout
    assert conversation(draft) == turns
    assert isinstance(draft, ExampleDraft)
    assert list(draft.images) == images


@pytest.mark.parametrize("message", [URI, URI.split(",")[1] + " " * 0, {"bytes": png(), "path": "x.png"}, png()])
def test_images_inside_rows_are_kept_once_by_what_they_hold(tmp_path: Path, message: Any) -> None:
    if isinstance(message, str) and not message.startswith("data:"):
        message = base64.b64encode(png() + b"\0" * 200).decode()  # bare base64 has to be long to be taken for it
    values = {"text": "What?", "image": [message, message], "response": "A cat."}
    _layout, draft = parse_row(values, tmp_path)
    assert isinstance(draft, ExampleDraft)
    first, second = draft.images
    assert isinstance(first, EmbeddedImage)
    assert first == second
    assert Path(first.path).read_bytes().startswith(png())
    assert Path(first.path).suffix == ".png"
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"messages": [1, 2]}, "messages", "turn 1 is a number (1), expected an object with role and content"),
        ({"messages": []}, "messages", "is empty"),
        ({"messages": None}, "messages", "is null, expected a list of turns"),
        ({"messages": [{"role": "user", "content": "a"}]}, "messages", "does not end with an assistant turn"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "messages", "does not start with a user turn"),
        (
            {"messages": [{"role": "tool", "content": "a"}]},
            "messages", 'turn 1 is a tool\'s ("tool"), which is not supported',
        ),
        ({"messages": [{"role": 3, "content": "a"}]}, "messages", "turn 1 has a role that is a number (3)"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages", "turn 1 has content that is a number (3)"),
        ({"messages": [{"role": "user", "content": None}]}, "messages", "turn 1 has content that is null"),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}]},
            "messages", "turn 2 is empty",
        ),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "tool_calls": [1]}]},
            "messages", "turn 2 is a tool call",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages", "turn 1 part 1 is audio, which is not supported",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "messages", "turn 1 part 1 is an image placeholder without a matching image",
        ),
        (
            {"messages": [{"role": "user", "content": "<image><image>"}, {"role": "assistant", "content": "b"}],
             "images": ["a.jpg"]},
            "messages", "has 2 <image> placeholders but the row has 1 image",
        ),
        (
            {"messages": [{"role": "user", "content": "<image>"}, {"role": "assistant", "content": "b"}]},
            "messages", "has 1 <image> placeholder but the row has 0 images",
        ),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "videos": ["v"]},
            "videos", "has video or audio",
        ),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]},
            "messages", "has no supervised answer",
        ),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": 5}]}, "conversations",
         "turn 2 has content that is a number (5)"),
        ({"question": "a", "image": "a.jpg", "answers": []}, "answers", "is empty"),
        ({"question": "a", "image": "a.jpg", "answers": ["x", None]}, "answers", "item 2 is null"),
        ({"image": None, "caption": "x"}, "image", "has a caption but no image"),
        ({"instruction": 3, "output": "x"}, "instruction", "is a number (3), expected text"),
        ({"text": "a", "response": "b", "image": "data:image/png;base64"}, "image", "is a data URI without a comma"),
        ({"text": "a", "response": "b", "image": "data:image/png;base64,@@@@"}, "image", "is not valid base64"),
        ({"text": "a", "response": "b", "image": "data:,"}, "image", "is empty (0 bytes)"),
        ({"text": "a", "response": "b", "image": {"bytes": None, "path": None}}, "image", "is an object without bytes"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, values: dict[str, Any], field: str, message: str) -> None:
    names = {"messages": "messages"} if "messages" in values else {}
    row = Row(7, values, None)
    layout, result, _certainty, _why = detect_layout([row], FieldMap(messages=names.get("messages")))
    problems = to_draft(row, "messages" if names else layout, result, EmbeddedImageStore(tmp_path))
    assert isinstance(problems, list)
    assert (problems[0].row, problems[0].field) == (7, field)
    assert message in problems[0].what


def test_a_data_uri_of_a_gigabyte_is_refused_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mg_tui.data.embedded_images.MAX_EMBEDDED_IMAGE_BYTES", 1000)
    uri = "data:image/png;base64," + "A" * 100_000
    _layout, problems = parse_row({"text": "a", "image": uri, "response": "b"}, tmp_path)
    assert isinstance(problems, list)
    assert "has 75,000 bytes; the limit for embedded images is 1,000" in problems[0].what
    assert not list(tmp_path.rglob("*.*"))


def test_marks_in_parts_are_text(tmp_path: Path) -> None:
    content = [{"type": "text", "text": "What does <image> mean in HTML?"}]
    values = {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "Little."}]}
    _layout, draft = parse_row(values, tmp_path)
    assert conversation(draft)[0] == ("user", ("What does <image> mean in HTML?",))


def test_which_answers_are_learned(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "weight": 0},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d"},
        {"role": "user", "content": "e"},
        {"role": "assistant", "content": "f"},
    ]
    for learned, expected in (("all", [False, True, True]), ("last", [False, False, True])):
        _layout, draft = parse_row({"messages": turns}, tmp_path, supervised_answers=learned)
        assert isinstance(draft, ExampleDraft)
        assert [turn.supervised for turn in draft.turns if turn.role == "assistant"] == expected
        example = draft.to_example([], None)
        assert [m.supervised for m in example.messages if m.role == "assistant"] == expected


def test_a_row_with_words_of_the_system_keeps_them() -> None:
    draft = ExampleDraft(
        1, (DraftTurn("system", ("Mine.",)), DraftTurn("user", ("a",)), DraftTurn("assistant", ("b",))), ()
    )
    assert [m.text for m in draft.to_example([], "Yours.").messages] == ["Mine.", "a", "b"]
    draft = ExampleDraft(1, draft.turns[1:], ())
    assert [m.text for m in draft.to_example([], "Yours.").messages] == ["Yours.", "a", "b"]


def test_how_sure_it_is_and_why() -> None:
    def message(*rows: dict[str, Any]) -> tuple[str, str, str]:
        layout, _fields, certainty, why = detect_layout([Row(i, row, None) for i, row in enumerate(rows, 1)])
        return layout, certainty, why

    fields = {"text": "a", "image": "b", "response": "c"}
    assert message(fields) == ("fields", "sure", "rows have text, image and response")
    assert message(fields, {"x": 1}, fields) == (
        "fields", "likely", "2 of the first 3 rows have text, image and response",
    )  # fmt: skip
    assert message(fields, {"x": 1}, {"x": 1})[1] == "guess"
    assert message({"x": 1, "y": 2}) == ("fields", "guess", "no known layout matches; the first has x, y")
    assert message({"question": "a", "image": "b", "answer": "c"})[:2] == ("vqa", "likely")


def test_options_of_a_run_name_the_fields() -> None:
    question = {"text_field": "q", "messages_field": "talk", "learned_answers": "last", "caption_prompt": "Say it."}
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": "a.jsonl", "weight_field": "w", **question})
    result = FieldMap.from_spec(spec)
    assert (result.text, result.messages, result.supervised_answers, result.caption_prompt) == (
        "q",
        "talk",
        "last",
        "Say it.",
    )
    assert (result.weight, FieldMap.from_spec(spec, evaluation=True).weight) == ("w", None)
    assert FieldMap.from_spec(TrainingSpec.parse({"base_model": "tiny", "dataset": "a.jsonl"})) == FieldMap()


def test_a_layout_that_is_named_finds_its_fields(rows, image_file: Path) -> None:
    path = rows({"image": "a.jpg", "text": "A cat."})
    for layout, question, answered in (("captions", "Describe this image.", "A cat."), ("fields", "", "")):
        dataset = load_dataset(path, layout=layout)
        result = [(example.prompt[0].text, example.response) for example in dataset.examples]
        assert result == ([(question, answered)] if question else [])
    path = rows({"prompt": "What?", "img": "a.jpg", "target": "A cat."})
    dataset = load_dataset(path, layout="vqa")
    assert [(example.prompt[0].text, example.response) for example in dataset.examples] == [("What?", "A cat.")]


def test_a_question_without_an_answer_is_no_caption(rows, image_file: Path) -> None:
    dataset = load_dataset(rows({"text": "What is it?", "image": "a.jpg"}))
    assert dataset.detected_format is not None
    assert dataset.detected_format.layout == "fields"
    assert 'field "response": is missing' in str(dataset.problems[0])


def test_images_out_of_rows_are_looked_at_as_every_other(rows, tmp_path: Path) -> None:
    svg = "data:image/svg+xml," + "<svg xmlns='http://www.w3.org/2000/svg'/>"
    bad = "data:image/png;base64," + base64.b64encode(b"MZ" + b"\0" * 90).decode()
    path = rows(*({"text": "a", "image": image, "response": "b"} for image in (URI, svg, bad)))
    dataset = load_dataset(path, cache=tmp_path / "cache")
    assert [example.row for example in dataset.examples] == [1]
    assert dataset.image_locations == {"row": 1}
    assert [(p.row, p.field) for p in dataset.problems] == [(2, "image"), (3, "image")]
    assert "is SVG" in dataset.problems[0].what
    assert "is not a supported image" in dataset.problems[1].what
    assert json.loads(dataset.problems[0].raw)["response"] == "b"
