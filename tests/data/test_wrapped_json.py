"""Rows inside one JSON object: what each published dataset becomes, and what is asked or refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.core.errors import DataError
from mg_tui.data.dataset import Dataset, load_dataset


def save_images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16)).save(folder / name)


def write(path: Path, value: Any, indent: int | None = None) -> Path:
    path.write_text(json.dumps(value, indent=indent))
    return path


def load(path: Path, **options: Any) -> Dataset:
    return load_dataset(path, cwd=path.parent, cache=path.parent / ".cache", **options)


def rows(dataset: Dataset) -> list[tuple[str, list[str], str]]:
    """Question, images and answer of every row."""
    assert not dataset.problems, [str(problem) for problem in dataset.problems]
    found = []
    for example in dataset.examples:
        question = "".join(message.text for message in example.prompt)
        found.append((question, [ref.original for ref in example.images], example.response))
    return found


ROW = {"text": "What?", "image": "a.png", "response": "A cup."}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("field", ["data", "rows", "train"])
def test_a_list_in_a_field_is_the_rows(tmp_path: Path, field: str, indent: int | None) -> None:
    save_images(tmp_path, "a.png")
    path = write(tmp_path / "a.json", {"version": 1, field: [ROW, ROW], "info": {"by": "x"}}, indent)
    for options in ({}, {"json_field": field}):
        dataset = load(path, **options)
        assert rows(dataset) == [("What?", ["a.png"], "A cup.")] * 2
        assert dataset.detected_format is not None
        assert field in dataset.detected_format.why


def test_several_lists_are_asked_about(tmp_path: Path) -> None:
    save_images(tmp_path, "a.png")
    path = write(tmp_path / "a.json", {"train": [ROW], "test": [ROW, ROW]})
    with pytest.raises(DataError, match="several lists") as caught:
        load(path)
    assert "--json-field: train, test" in str(caught.value.hint)
    assert len(rows(load(path, json_field="test"))) == 2
    with pytest.raises(DataError, match="no list 'other'") as caught:
        load(path, json_field="other")
    assert "train, test" in str(caught.value.hint)


def test_a_field_of_a_file_that_is_not_an_object_is_an_error(tmp_path: Path) -> None:
    for name, text in (("a.json", f"[{json.dumps(ROW)}]"), ("a.jsonl", f"{json.dumps(ROW)}\n{json.dumps(ROW)}\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=r"not .* JSON object"):
            load(tmp_path / name, json_field="data")


@pytest.mark.parametrize(
    "row", [ROW, {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}]
)
def test_one_row_is_not_taken_for_a_list_of_rows(tmp_path: Path, row: dict[str, Any]) -> None:
    save_images(tmp_path, "a.png")
    assert len(rows(load(write(tmp_path / "a.json", row)))) == 1
    with pytest.raises(DataError, match="single row on several lines"):
        load(write(tmp_path / "a.json", row, indent=2))


def test_an_object_without_rows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="without a list of rows") as caught:
        load(write(tmp_path / "a.json", {"version": 1, "name": "x"}, indent=1))
    assert "version, name" in str(caught.value.why) or "name, version" in str(caught.value.why)


def test_bad_items_are_named_by_their_number(tmp_path: Path) -> None:
    save_images(tmp_path, "a.png")
    (tmp_path / "a.json").write_text('{"data": [' + json.dumps(ROW) + ', {"text": 1,}, 7]}')
    assert [problem.row for problem in load(tmp_path / "a.json").problems] == [2, 3]


def test_a_file_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    text = json.dumps({"data": [ROW] * 20}, indent=1)
    (tmp_path / "a.json").write_text(text[: len(text) // 2])
    dataset = load(tmp_path / "a.json")
    assert not dataset.examples
    assert dataset.problems


# --- published datasets


def vqa(folder: Path) -> Path:
    save_images(folder, "train2014/COCO_train2014_000000000009.jpg", "train2014/COCO_train2014_000000000025.jpg")
    questions = [
        {"image_id": 9, "question": "What is it?", "question_id": 9000},
        {"image_id": 25, "question": "How many?", "question_id": 25001},
    ]
    about = {"info": {}, "data_type": "mscoco", "license": {}, "data_subtype": "train2014"}
    answers = [{"answer": "cup", "answer_confidence": "yes", "answer_id": n} for n in range(3)]
    annotations = [
        {
            "question_id": 25001,
            "image_id": 25,
            "multiple_choice_answer": "2",
            "answers": answers,
            "answer_type": "number",
        },
        {
            "question_id": 9000,
            "image_id": 9,
            "multiple_choice_answer": "cup",
            "answers": answers,
            "answer_type": "other",
        },
    ]
    path = write(folder / "v2_OpenEnded_mscoco_train2014_questions.json", {**about, "questions": questions})
    write(folder / "v2_mscoco_train2014_annotations.json", {**about, "annotations": annotations})
    write(folder / "v2_mscoco_val2014_annotations.json", {**about, "annotations": []})
    return path


def test_vqa_v2(tmp_path: Path) -> None:
    path = vqa(tmp_path)
    expected = [
        ("What is it?", ["train2014/COCO_train2014_000000000009.jpg"], "cup"),
        ("How many?", ["train2014/COCO_train2014_000000000025.jpg"], "2"),
    ]
    dataset = load(path)
    assert rows(dataset) == expected
    assert "v2_mscoco_train2014_annotations.json" in str(dataset.detected_format)
    assert dict(dataset.unused_columns) == {"question_id": 2, "answer_type": 2}
    assert rows(load(tmp_path / "v2_mscoco_train2014_annotations.json")) == expected[::-1]


def test_vqa_v2_without_its_answers(tmp_path: Path) -> None:
    path = vqa(tmp_path)
    (tmp_path / "v2_mscoco_train2014_annotations.json").unlink()
    with pytest.raises(DataError, match="no annotations beside") as caught:
        load(path)
    assert "v2_mscoco_train2014_annotations.json" in str(caught.value.hint)


def test_vqa_v2_with_a_question_without_answer(tmp_path: Path) -> None:
    path = vqa(tmp_path)
    whole = json.loads((tmp_path / "v2_mscoco_train2014_annotations.json").read_text())
    write(tmp_path / "v2_mscoco_train2014_annotations.json", {**whole, "annotations": whole["annotations"][:1]})
    assert [str(problem) for problem in load(path).problems] == ["row 1: has no answer in the annotations"]


def coco(captions: list[dict[str, Any]]) -> dict[str, Any]:
    images = [{"id": 7, "file_name": "000000000007.jpg", "height": 16, "width": 16}]
    return {"info": {}, "licenses": [], "images": images, "annotations": captions}


def test_coco_captions(tmp_path: Path) -> None:
    save_images(tmp_path, "val2017/000000000007.jpg")
    (tmp_path / "annotations").mkdir()
    captions = [{"image_id": 7, "id": n, "caption": f"A cup {n}."} for n in range(2)]
    path = write(tmp_path / "annotations" / "captions_val2017.json", coco(captions))
    image = "../val2017/000000000007.jpg"
    assert rows(load(path)) == [("Describe this image.", [image], f"A cup {n}.") for n in range(2)]
    missing = load(write(path, coco([{"image_id": 8, "id": 1, "caption": "x"}])))
    assert "not in the list of images" in missing.problems[0].what


def test_coco_boxes_are_refused(tmp_path: Path) -> None:
    boxes = [{"image_id": 7, "id": 1, "category_id": 1, "bbox": [0, 0, 4, 4], "segmentation": []}]
    with pytest.raises(DataError, match="bounding boxes"):
        load(write(tmp_path / "_annotations.coco.json", coco(boxes)))


def test_textvqa(tmp_path: Path) -> None:
    save_images(tmp_path, "train_images/0054c91397f2fe05.jpg")
    row = {
        "question": "what is the brand?", "image_id": "0054c91397f2fe05", "image_classes": ["Phone"], "question_id": 0,
        "flickr_original_url": "https://farm6.staticflickr.com/1.jpg", "answers": ["nokia", "nokia", "toshiba"],
    }  # fmt: skip
    path = write(
        tmp_path / "TextVQA_0.5.1_train.json", {"dataset_type": "train", "dataset_name": "textvqa", "data": [row]}
    )
    assert rows(load(path)) == [("what is the brand?", ["train_images/0054c91397f2fe05.jpg"], "nokia")]


def test_docvqa(tmp_path: Path) -> None:
    save_images(tmp_path, "documents/xnbl0037_1.png")
    row = {
        "questionId": 337, "question": "what is the date?", "question_types": ["handwritten"],
        "image": "documents/xnbl0037_1.png", "docId": 279, "answers": ["1/8/93"], "data_split": "train",
    }  # fmt: skip
    path = write(tmp_path / "train_v1.0.json", {"dataset_name": "SP-DocVQA", "dataset_split": "train", "data": [row]})
    assert rows(load(path)) == [("what is the date?", ["documents/xnbl0037_1.png"], "1/8/93")]


def test_gqa(tmp_path: Path) -> None:
    save_images(tmp_path, "images/2354786.jpg")
    question = {
        "imageId": "2354786", "question": "Is it overcast?", "answer": "no", "fullAnswer": "No, it is clear.",
        "groups": {}, "isBalanced": True,
    }  # fmt: skip
    dataset = load(write(tmp_path / "val_balanced_questions.json", {"05515938": question, "05515939": question}))
    assert rows(dataset) == [("Is it overcast?", ["images/2354786.jpg"], "no")] * 2
    assert "fullAnswer" in dataset.unused_columns


def test_ocr_vqa(tmp_path: Path) -> None:
    save_images(tmp_path, "images/0001.jpg")
    book = {
        "imageURL": "http://example.com/1.jpg", "questions": ["Who?", "Which genre?"], "answers": ["Ann", "Novel"],
        "title": "x", "authorName": "Ann", "genre": "Novel",
    }  # fmt: skip
    path = write(tmp_path / "dataset.json", {"0001": {**book, "split": 1}, "0002": {**book, "split": 2}})
    dataset = load(path)
    (example,) = dataset.examples
    assert [(m.role, m.text) for m in example.messages] == [
        ("user", "Who?"), ("assistant", "Ann"), ("user", "Which genre?"), ("assistant", "Novel"),
    ]  # fmt: skip
    assert [ref.original for ref in example.images] == ["images/0001.jpg"]
    assert "split train" in str(dataset.detected_format)
    validation = load(path, split="validation", check_images="none")
    assert "http://example.com/1.jpg" in str(validation.problems[0])  # its image is not here and not reachable
