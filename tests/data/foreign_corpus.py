"""A corpus of small datasets as other tools write them, made here: one sample per layout, and what its row becomes.

`docs/datasets.md` lists every sample by its title, with its verdict. A turn is written as its role and text, an image
as its file's name in brackets; an answer that is not supervised is marked with "-".
"""

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from PIL import Image

Verdict = Literal["read", "asked", "refused"]
Turns = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Sample:
    """A dataset of one tool.

    Attributes:
        title: as the documentation names it.
        verdict: read, asked about (an option decides), or refused.
        write: writes the dataset into a folder that has a.png and b.png, and returns its name.
        turns: what the first row becomes; of one that is asked about, with `options`.
        options: arguments of `load_dataset` that read it.
        message, hint: words of the error of one that is asked about or refused.
    """

    title: str
    verdict: Verdict
    write: Callable[[Path], str]
    turns: Turns = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""
    hint: str = ""

    def __str__(self) -> str:
        return self.title


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (56, 56), "red").save(buffer, "PNG")
    return buffer.getvalue()


def lines(*rows: Mapping[str, Any], name: str = "data.jsonl") -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return name

    return write


def document(value: Any, name: str = "data.json", *beside: tuple[str, Any]) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        for other, content in ((name, value), *beside):
            (folder / other).parent.mkdir(parents=True, exist_ok=True)
            (folder / other).write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
        return name

    return write


def moved(write: Callable[[Path], str], image: str) -> Callable[[Path], str]:
    """The dataset with its image at another place."""

    def write_both(folder: Path) -> str:
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        (folder / image).write_bytes(png())
        return write(folder)

    return write_both


def parquet(rows: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        table = pa.Table.from_pylist(list(rows))
        if names is not None:
            features = {"label": {"_type": "ClassLabel", "names": list(names)}}
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pq.write_table(table, folder / "data.parquet")
        return "data.parquet"

    return write


def image_folder(row: Mapping[str, Any]) -> Callable[[Path], str]:
    return moved(lambda folder: lines(row, name="set/metadata.jsonl")(folder) and "set", "set/a.png")


def chat(question: Any, answer: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **more}


EMBEDDED = {"bytes": png(), "path": "a.png"}
DATA = base64.b64encode(png()).decode()
ASKED: Turns = (("user", "[a.png]What is it?"), ("assistant", "A cup."))
CAPTIONED: Turns = (("user", "[a.png]Describe this image."), ("assistant", "A cup."))
QUESTION = {"question": "What is it?", "image": "a.png"}
TASK = {
    "id": 1,
    "data": {"image": "a.png", "question": "What is it?"},
    "annotations": [{"result": [{"type": "textarea", "from_name": "answer", "value": {"text": ["A cup."]}}]}],
}
CHOICES = (
    ("user", "[a.png]Which?\nA. red\nB. blue\nAnswer with the option's letter from the given choices directly."),
    ("assistant", "B"),
)
VQA_QUESTION = {"question_id": 1, "image_id": 9, "question": "What is it?"}
VQA_ANSWER = {"question_id": 1, "image_id": 9, "multiple_choice_answer": "A cup.", "answers": [{"answer": "A cup."}]}

READ = [
    Sample("LLaVA", "read", document([{"id": "1", "image": "a.png", "conversations": [
        {"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A cup."}]}]), ASKED),
    Sample("OpenAI chat", "read", lines(chat([
        {"type": "image_url", "image_url": {"url": "a.png"}},
        {"type": "text", "text": "What is it?"}], "A cup.")), ASKED),
    Sample("OpenAI responses", "read", lines(chat([
        {"type": "input_image", "image_url": "a.png"}, {"type": "input_text", "text": "What is it?"}],
        [{"type": "output_text", "text": "A cup."}])), ASKED),
    Sample("Anthropic messages", "read", lines({"system": "Be brief.", **chat([
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}},
        {"type": "text", "text": "What is it?"}], "A cup.")}),
        (("system", "Be brief."), ("user", "[embedded]What is it?"), ("assistant", "A cup."))),
    Sample("Gemini contents", "read", lines({
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [
            {"inlineData": {"mimeType": "image/png", "data": DATA}}, {"text": "What is it?"}]},
            {"role": "model", "parts": [{"text": "A cup."}]}]}),
        (("system", "Be brief."), ("user", "[embedded]What is it?"), ("assistant", "A cup."))),
    Sample("Qwen chat parts", "read", lines(chat(
        [{"type": "image", "image": "a.png"}, {"type": "text", "text": "What is it?"}], "A cup.")), ASKED),
    Sample("LLaMA-Factory sharegpt", "read", document({"mine": {
        "file_name": "data.json", "formatting": "sharegpt", "columns": {"messages": "messages", "images": "images"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}}},
        "dataset_info.json", ("data.json", [chat("<image>What is it?", "A cup.", images=["a.png"])])), ASKED),
    Sample("LLaMA-Factory alpaca", "read", document([{
        "instruction": "<image>What is it?", "input": "", "output": "A cup.", "images": ["a.png"]}]), ASKED),
    Sample("LLaMA-Factory version 1", "read", lines({"messages": [
        {"role": "user", "content": [{"type": "image_url", "value": "a.png"}, {"type": "text", "value": "Hi."}],
         "loss_weight": 0.0},
        {"role": "assistant", "content": [{"type": "text", "value": "Hello."}], "loss_weight": 0.0},
        {"role": "user", "content": [{"type": "text", "value": "What is it?"}], "loss_weight": 0.0},
        {"role": "assistant", "content": [{"type": "text", "value": "A cup."}], "loss_weight": 1.0}]}),
        (("user", "[a.png]Hi."), ("assistant-", "Hello."), ("user", "What is it?"), ("assistant", "A cup."))),
    Sample("ms-swift messages", "read", lines(chat("<image>What is it?", "A cup.", images=["a.png"])), ASKED),
    Sample("ms-swift query", "read", lines({
        "system": "Be brief.", "query": "<image>What is it?", "response": "A cup.", "images": ["a.png"],
        "history": [["Hi.", "Hello."]]}),
        (("system", "Be brief."), ("user", "Hi."), ("assistant", "Hello."), ("user", "[a.png]What is it?"),
         ("assistant", "A cup."))),
    Sample("ms-swift aliases", "read", lines({
        "system_prompt": "Be brief.", "problem": "What is it?", "solution": "A cup.", "image": "a.png"}),
        (("system", "Be brief."), *ASKED)),
    Sample("ms-swift conversation", "read", lines({"conversation": [
        {"human": "<image>What is it?", "assistant": "A cup."}], "images": ["a.png"]}), ASKED),
    Sample("ms-swift loss_scale", "read", lines({"messages": [
        {"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello.", "loss_scale": 0.0},
        {"role": "user", "content": "<image>What is it?"},
        {"role": "assistant", "content": "A cup.", "loss_scale": 1.0}],
        "images": ["a.png"]}),
        (("user", "Hi."), ("assistant-", "Hello."), ("user", "[a.png]What is it?"), ("assistant", "A cup."))),
    Sample("TRL prompt and completion", "read", lines(
        {"prompt": "What is it?", "completion": "A cup.", "image": "a.png"}), ASKED),
    Sample("TRL conversational prompt and completion", "read", lines({
        "prompt": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."},
                   {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}],
        "completion": [{"role": "assistant", "content": "A cup."}], "images": ["a.png"]}),
        (("user", "Hi."), ("assistant-", "Hello."), ("user", "[a.png]What is it?"), ("assistant", "A cup."))),
    Sample("The Cauldron", "read", parquet([{
        "images": [EMBEDDED], "texts": [{"user": "What is it?", "assistant": "A cup.", "source": "x"}]}]),
        (("user", "[embedded]What is it?"), ("assistant", "A cup."))),
    Sample("Hugging Face image and label", "read", parquet([{"image": EMBEDDED, "label": 1}], ["plate", "cup"]),
        (("user", "[embedded]Describe this image."), ("assistant", "cup"))),
    Sample("Hugging Face image and text", "read", parquet([{"image": EMBEDDED, "text": "A cup."}]),
        (("user", "[embedded]Describe this image."), ("assistant", "A cup."))),
    Sample("Hugging Face image folder", "read", image_folder({"file_name": "a.png", "text": "A cup."}), CAPTIONED),
    Sample("Donut", "read", image_folder({
        "file_name": "a.png", "ground_truth": json.dumps({"gt_parse": {"total": "5"}})}),
        (("user", "[a.png]Read this document and answer in JSON."), ("assistant", '{"total": "5"}'))),
    Sample("Donut with questions", "read", image_folder({
        "file_name": "a.png",
        "ground_truth": json.dumps({"gt_parses": [{"question": "What is it?", "answer": "A cup."}]})}), ASKED),
    Sample("Label Studio", "read", document([TASK]), ASKED),
    Sample("Label Studio choices", "read", document([{**TASK, "annotations": [{"result": [
        {"type": "choices", "from_name": "kind", "value": {"choices": ["cup"]}}]}]}]),
        (("user", "[a.png]What is it?"), ("assistant", "cup"))),
    Sample("Label Studio JSON_MIN", "read", document([{
        "image": "a.png", "caption": "A cup.", "id": 1, "annotator": 1, "lead_time": 2.5}]), CAPTIONED),
    Sample("PaliGemma, Roboflow JSONL", "read", lines(
        {"image": "a.png", "prefix": "caption en", "suffix": "A cup."}, name="_annotations.train.jsonl"),
        (("user", "[a.png]caption en"), ("assistant", "A cup."))),
    Sample("VQA v2", "read", moved(document(
        {"data_subtype": "val2014", "questions": [VQA_QUESTION]}, "v2_OpenEnded_mscoco_val2014_questions.json",
        ("v2_mscoco_val2014_annotations.json", {"annotations": [VQA_ANSWER]})),
        "val2014/COCO_val2014_000000000009.jpg"),
        (("user", "[COCO_val2014_000000000009.jpg]What is it?"), ("assistant", "A cup."))),
    Sample("COCO captions", "read", document({
        "images": [{"id": 9, "file_name": "a.png"}],
        "annotations": [{"id": 1, "image_id": 9, "caption": "A cup."}]}), CAPTIONED),
    Sample("TextVQA", "read", document({"dataset_name": "textvqa", "data": [
        {"question": "What is it?", "image_id": "a", "answers": ["A mug.", "A cup.", "A cup."]}]}), ASKED),
    Sample("DocVQA", "read", document({"dataset_name": "SP-DocVQA", "data": [
        {"questionId": 1, **QUESTION, "docId": 2, "answers": ["A cup."]}]}), ASKED),
    Sample("GQA", "read", document({
        "1": {"imageId": "a", "question": "What is it?", "answer": "A cup.", "fullAnswer": "It is a cup."},
        "2": {"imageId": "a", "question": "What is it?", "answer": "A cup.", "fullAnswer": "It is a cup."}}), ASKED),
    Sample("OCR-VQA", "read", document({
        "a": {"imageURL": "http://x.example/a.jpg", "questions": ["What is it?"], "answers": ["A cup."], "split": 1},
        "b": {"imageURL": "http://x.example/b.jpg", "questions": ["What is it?"], "answers": ["A cup."], "split": 3}}),
        ASKED),
]  # fmt: skip

QUESTIONED = [
    Sample("multiple choice: options", "asked", lines(
        {"question": "Which?", "image": "a.png", "options": ["red", "blue"], "answer": "B"}), CHOICES,
        {"layout": "choices"}, "options", "--dataset-layout choices"),
    Sample("multiple choice: columns A to D (MMBench)", "asked", lines(
        {"question": "Which?", "image": "a.png", "A": "red", "B": "blue", "C": None, "answer": "B"}), CHOICES,
        {"layout": "choices"}, "options", "--dataset-layout choices"),
    Sample("multiple choice: number of the answer (ScienceQA)", "asked", lines(
        {"question": "Which?", "image": "a.png", "choices": ["red", "blue"], "answer": 1, "hint": ""}), CHOICES,
        {"layout": "choices"}, "options", "--dataset-layout choices"),
    Sample("a question beside a caption", "asked", lines(
        {**QUESTION, "caption": "A cup."}), CAPTIONED,
        {"fields": {"ignored": frozenset({"question"})}}, "may be the question", "--text-field question"),
    Sample("several lists in one object", "asked", document({
        "train": [{"text": "What is it?", "image": "a.png", "response": "A cup."}], "test": [{"text": "x"}]}), ASKED,
        {"json_field": "train"}, "several lists", "--json-field: train, test"),
    Sample("text in Latin-1", "asked", lambda folder: str(
        (folder / "data.csv").write_bytes("question,image,answer\nÉ?,a.png,A cup.\n".encode("latin-1")) and "data.csv"),
        (("user", "[a.png]É?"), ("assistant", "A cup.")), {"encoding": "latin-1"}, "not UTF-8", "--dataset-encoding"),
    Sample("several entries of a dataset_info.json", "asked", document({
        "one": {"file_name": "data.json"}, "two": {"file_name": "data.json"}}, "dataset_info.json",
        ("data.json", [{"instruction": "What is it?", "output": "A cup.", "images": ["a.png"]}])), ASKED,
        {"config": "one"}, "2 entries", "--dataset-config: one, two"),
]  # fmt: skip

REFUSED = [
    Sample("videos: a column", "refused", lines(chat("<video>What?", "A cup.", videos=["a.mp4"])),
        message="video", hint="--ignore-column videos"),
    Sample("videos: parts", "refused", lines(chat(
        [{"type": "video", "video": "a.mp4"}, {"type": "text", "text": "What?"}], "A cup.")),
        message="a video", hint="--on-bad-row skip"),
    Sample("videos: Gemini", "refused", lines({"contents": [
        {"role": "user", "parts": [{"fileData": {"mimeType": "video/mp4", "fileUri": "x"}}, {"text": "What?"}]},
        {"role": "model", "parts": [{"text": "A cup."}]}]}), message="video/mp4", hint="--on-bad-row skip"),
    Sample("videos: LLaMA-Factory", "refused", document({"mine": {
        "file_name": "data.json", "formatting": "sharegpt", "columns": {"messages": "messages", "videos": "videos"}}},
        "dataset_info.json", ("data.json", [chat("a", "b")])), message="videos", hint="another entry"),
    Sample("audio: a column", "refused", lines(chat("<audio>What?", "A cup.", audios=["a.wav"])),
        message="audio", hint="--ignore-column audios"),
    Sample("audio: parts", "refused", lines(chat(
        [{"type": "input_audio", "input_audio": {"data": ""}}, {"type": "text", "text": "What?"}], "A cup.")),
        message="audio", hint="--on-bad-row skip"),
    Sample("preference pairs: TRL", "refused", lines({
        "prompt": [{"role": "user", "content": "a"}], "chosen": [{"role": "assistant", "content": "b"}],
        "rejected": [{"role": "assistant", "content": "c"}]}), message="ranked or scored", hint="of the good answers"),
    Sample("preference pairs: TRL without a prompt", "refused", lines({
        "chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        "rejected": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c"}]}),
        message="ranked or scored", hint="of the good answers"),
    Sample("preference pairs: LLaMA-Factory", "refused", document({"mine": {
        "file_name": "data.json", "ranking": True, "columns": {"prompt": "instruction", "chosen": "chosen"}}},
        "dataset_info.json", ("data.json", [{"instruction": "a", "chosen": "b", "rejected": "c"}])),
        message="preference pairs", hint="another entry"),
    Sample("preference pairs: ms-swift", "refused", lines(chat("a", "b", rejected_response="c")),
        message="ranked or scored", hint="--ignore-column rejected_response"),
    Sample("scored answers: KTO", "refused", lines(chat("a", "b", label=False)),
        message="ranked or scored", hint="--ignore-column label"),
    Sample("tools: a column", "refused", lines(chat("a", "b", tools=[{"type": "function"}])),
        message="tools", hint="--ignore-column tools"),
    Sample("tools: calls", "refused", lines({"messages": [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "x"}, {"role": "assistant", "content": "b"}]}),
        message="a tool call", hint="--ignore-column messages.tool_calls"),
    Sample("tools: ShareGPT turns", "refused", lines({"conversations": [
        {"from": "human", "value": "a"}, {"from": "function_call", "value": "{}"},
        {"from": "observation", "value": "x"}, {"from": "gpt", "value": "b"}]}),
        message="a tool's", hint="--on-bad-row skip"),
    Sample("tools: Anthropic", "refused", lines(chat("a", [{"type": "tool_use", "name": "f", "input": {}}])),
        message="a tool call", hint="--on-bad-row skip"),
    Sample("tools: Gemini", "refused", lines({"contents": [
        {"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": [{"functionCall": {"name": "f"}}]}]}),
        message="a tool call", hint="--on-bad-row skip"),
    Sample("boxes: ms-swift objects", "refused", lines(chat(
        "<image>Find <ref-object>.", "<bbox>", images=["a.png"], objects={"ref": ["cup"], "bbox": [[1, 2, 3, 4]]})),
        message="bounding boxes", hint="include the boxes in the answer, as --box-format"),
    Sample("boxes: COCO", "refused", document({
        "images": [{"id": 9, "file_name": "a.png"}],
        "annotations": [{"id": 1, "image_id": 9, "category_id": 1, "bbox": [0, 0, 4, 4]}]}),
        message="bounding boxes", hint="as text"),
    Sample("boxes: Label Studio", "refused", document([{**TASK, "annotations": [{"result": [
        {"type": "rectanglelabels", "from_name": "box", "value": {"x": 1, "rectanglelabels": ["cup"]}}]}]}]),
        message="rectanglelabels", hint="as text"),
    Sample("boxes: YOLO", "refused", lambda folder: str(
        moved(lambda inner: str((inner / "set" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n") and "set"), "set/a.png")(
            folder)), message="boxes", hint="into answers"),
    Sample("class numbers without names", "refused", parquet([{"image": EMBEDDED, "label": 1}]),
        message="is a number", hint=""),
    Sample("weights of turns other than 0 and 1", "refused", lines({"messages": [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "loss_scale": 0.5}]}),
        message="other than 0 and 1", hint="--ignore-column messages.loss_scale"),
]  # fmt: skip

CORPUS = [*READ, *QUESTIONED, *REFUSED]


def build(sample: Sample, folder: Path) -> str:
    """Write a sample into a folder; returns the dataset's name."""
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(png())
    return sample.write(folder)
