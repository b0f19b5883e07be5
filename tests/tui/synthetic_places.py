"""Made-up models and datasets to look at, as `testing` has runs: for tests, screenshots, and writers of widgets."""

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from threading import Event
from typing import Any, Final

from mg_tui.core.errors import GardenError
from tests.tui.synthetic_runs import HOSTILE

PHOTOS: Final = ("astronaut", "camera", "chelsea", "coffee", "flower", "rocket")
ANSWERS: Final = {
    "astronaut": ("Who is shown?", "An astronaut in an orange suit."),
    "camera": ("What does the man hold?", "A camera on a tripod."),
    "chelsea": ("What animal is this?", "A cat."),
    "coffee": ("What is in the cup?", "Coffee, on a wooden table."),
    "flower": ("Which color is the flower?", "Red and yellow."),
    "rocket": ("What is lifting off?", "A rocket at night."),
}


def photo(name: str) -> Path:
    """A photo shipped with the package."""
    return Path(str(files("mg_tui.data.synthetic") / "photos" / f"{name}.jpg"))


def make_result(home: Path, name: str, *, kind: str = "adapter", ago: float = 7_200.0, **training: Any) -> Path:
    """A result folder as the engine leaves it, without weights worth loading; `ago` in seconds."""
    folder = home / "models" / name
    folder.mkdir(parents=True)
    created = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() - ago))
    contract = {
        "schema": 1,
        "kind": kind,
        "family": "qwen2_5_vl",
        "model_type": "qwen2_5_vl",
        "base": {"name": "Qwen/Qwen2.5-VL-3B-Instruct"},
        "run": None,
        "created": created,
        "training": {"steps": 240, "examples": 1_250, "final_loss": 0.3411, **training},
        "spec": {"name": name, "base_model": "Qwen/Qwen2.5-VL-3B-Instruct", "dataset": f"/data/{name}/train.jsonl"},
    }
    (folder / "model_garden.json").write_text(json.dumps(contract), encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(b"\0" * 4096)
    return folder


def make_dataset(file: Path, rows: int = 60, *, faulty: bool = True) -> Path:
    """A JSON Lines dataset of photos, which lie beside it; with `faulty` some rows are as bad as rows get."""
    (file.parent / "photos").mkdir(exist_ok=True)
    for name in PHOTOS:
        shutil.copy(photo(name), file.parent / _relative_path(name))
    dice = random.Random(rows)
    lines = []
    for number in range(1, rows + 1):
        name = dice.choice(PHOTOS)
        question, answer = ANSWERS[name]
        row: dict[str, Any] = {"text": f"{question} ({number})", "image": _relative_path(name), "response": answer}
        lines.append(json.dumps(row))
    if faulty:
        for number, bad in _FAULTY_LINES.items():
            lines[number - 1] = bad
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def _relative_path(name: str) -> str:
    return f"photos/{name}.jpg"


def _row_line(**values: Any) -> str:
    row = {"text": "What is it?", "image": _relative_path("chelsea"), "response": "A cat."}
    return json.dumps({**row, **values})


# Row number -> the line that stands there.
_FAULTY_LINES: Final[Mapping[int, str]] = {
    5: _row_line(text=HOSTILE, response=HOSTILE, **{HOSTILE: HOSTILE}),
    7: _row_line(image="nowhere.png"),
    8: "{broken",
    9: _row_line(text="x" * 1_000_000),
    10: _row_line(image=[_relative_path("rocket"), _relative_path("coffee")]),
    11: "",
    12: _row_line(response=None),
    13: _row_line(text="NUL \0, a bell \a, \u202eright to left, \u200bnothing"),
    14: _row_line(image=None),
}


class FakeEngine:
    """Stands in for `mg_tui.runs.engine_process.EngineProcess`: answers from a script instead of a process.

    `script` has for each operation the events of its reply, or an error to raise, or a function of the request's
    fields that gives either. `gate`, when set, holds up every reply but the first `open_ops`.
    """

    script: Mapping[str, Any]
    requests: list[tuple[str, dict[str, Any]]]
    pid = 4242

    def __init__(self, program: str) -> None:
        self.program = program
        self.alive = True
        self.cancelled = Event()

    def send(self, op: str, **fields: Any) -> None:
        """A request without a reply; `cancel` is the only one."""
        self.requests.append((op, fields))
        self.cancelled.set()

    def stream(self, op: str, **fields: Any) -> Iterator[dict[str, Any]]:
        """The scripted events of a request."""
        self.requests.append((op, fields))
        self.cancelled.clear()
        scripted = self.script[op]
        if callable(scripted):
            scripted = scripted(self, fields)
        if isinstance(scripted, GardenError):
            raise scripted
        yield from scripted

    def terminate(self) -> None:
        """It ends at once."""
        self.close()

    def close(self, patience: float = 2.0) -> None:
        """It ends at once."""
        self.alive = False
        self.cancelled.set()


def fake_engine(script: Mapping[str, Any | Callable[..., Any]]) -> type[FakeEngine]:
    """A class to put in the place of `EngineProcess`; its `requests` has every request."""
    requests: list[tuple[str, dict[str, Any]]] = []
    return type("ScriptedEngine", (FakeEngine,), {"script": script, "requests": requests})


def showcase(home: Path, folder: Path) -> None:
    """Results in `home`, and a dataset in `folder` that was opened before: something to make images of."""
    from mg_tui.runs import recents

    make_result(home, "receipts-lora-r32", eval_loss=0.4123, exact_match=0.87, trainable_parameters=29_933_568)
    make_result(home, "receipts-lora-r32-merged", kind="merged", ago=2_400.0)
    make_result(home, "chart-questions", eval_loss=0.6712, ago=90_000.0)
    recents.remember(home, "datasets", str(make_dataset(folder / "photos.jsonl", 240)))
    recents.remember(home, "images", str(photo("chelsea")))


def showcase_engine() -> type[FakeEngine]:
    """An engine that answers about the photos at once, without a model."""
    ready = {"event": "ready", "device": "cuda", "dtype": "bfloat16", "quantization": "nf4"}
    rows = list(map(_evaluated_row, range(1, 33)))
    progress = {"event": "progress", "which": "rows", "done": 32, "total": 32, "rows": rows}
    return fake_engine(
        {
            "load": [ready],
            "generate": [{"event": "text", "text": _ANSWER_TEXT}, _ANSWER_EVENT],
            "exam": [progress, {"event": "exam", "rows": rows, "total": 32, "ended": "end", "seconds": 3.0}],
            "open": [{"event": "ready"}],
            "row": lambda _child, fields: [_token_event(fields)],
            "count": lambda _child, fields: [{"event": "count", "counts": [[71, 8]] * len(fields["conversations"])}],
        }
    )


_ANSWER_TEXT: Final = "A tabby cat with wide green eyes, looking straight at the camera."
_ANSWER_EVENT: Final = {
    "event": "answer",
    "answer": _ANSWER_TEXT,
    "tokens": 17,
    "tokens_per_second": 41.2,
    "first_token_seconds": 0.31,
    "images": [{"path": "chelsea.jpg", "size": [451, 300], "seen_at": [448, 308]}],
    "image_tokens": 176,
    "ended": "end",
}


def _evaluated_row(number: int) -> dict[str, Any]:
    name = PHOTOS[number % len(PHOTOS)]
    question, answer = ANSWERS[name]
    return {
        "row": 12 * number,
        "images": [str(photo(name))],
        "prompt": question,
        "expected": answer,
        "answer": answer if number % 7 else "A street at night.",
        "base_answer": answer if number % 3 == 0 else "There is an image of something.",
    }


def _token_event(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A conversation by words instead of tokens, in the shape that the engine gives."""
    pieces: list[tuple[str | int, bool]] = []
    images = 0
    for message in fields["messages"]:
        pieces += [("<|im_start|>", False), (f"{message['role']}\n", False)]
        for part in message["parts"]:
            if "image" in part:
                pieces += [("<|vision_start|>", False), (images, False), ("<|vision_end|>", False)]
                images += 1
            else:
                pieces += [(f"{word} ", message["role"] == "assistant") for word in part["text"].split()[:200]]
        pieces += [("<|im_end|>", message["role"] == "assistant"), ("\n", False)]
    return {
        "event": "row",
        "row": fields["row"],
        "pieces": pieces,
        "tokens": len(pieces) + 175 * images,
        "learned": sum(learned for _piece, learned in pieces),
        "image_tokens": 176 * images,
        "images": [{"path": "", "size": [451, 300], "seen_at": [448, 308], "tokens": 176}] * images,
    }
