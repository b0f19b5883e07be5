"""`python -m mg_tui.engine.serving.reference`: what the models of a server have to answer, from a process of its own.

    {"op": "expect", "spec": {...}, "home": "...", "cwd": "...", "cache": "...", "bounds": {...} or null}
        -> expected {"models": [...]}

Another program is going to serve them and needs the GPU's memory; when this process ends, it is free.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.core.serve_spec import ServeSpec
from mg_tui.data.policy import read_policy
from mg_tui.engine.evaluation.answerer import ModelAnswer
from mg_tui.engine.inference.channel import Channel, exit_process, serve
from mg_tui.engine.inference.generate import silence_libraries
from mg_tui.engine.serving.proof import ExpectedAnswers, expect_answers
from mg_tui.engine.serving.served_models import load_served, locate_served
from mg_tui.families.registry import load_registry
from mg_tui.runs.caller_bounds import CallerBounds


def ask_reference(
    spec: ServeSpec, *, cwd: Path, home: Path, cache: Path, bounds: CallerBounds | None = None
) -> list[ExpectedAnswers]:
    """Start the process, and wait for its answers. `bounds`: see `start_engine`.

    Raises:
        GardenError: a model cannot be loaded.
    """
    from mg_tui.runs.engine_process import EngineProcess

    places: dict[str, Any] = {"cwd": str(cwd), "home": str(home), "cache": str(cache)}
    places["bounds"] = None if bounds is None else asdict(bounds)
    record: dict[str, Any] = {}
    with EngineProcess("mg_tui.engine.serving.reference") as child:
        for event in child.stream("expect", spec=spec.model_dump(mode="json"), **places):
            record = event
    return [_from_record(each) for each in record["models"]]


def expect(values: dict[str, Any], channel: Channel) -> None:
    """Load the models and ask them; replies `expected`."""
    silence_libraries()
    spec = ServeSpec.parse(values["spec"])
    home, registry = Path(values["home"]), load_registry()
    found = locate_served(spec, home=home, registry=registry)
    models = load_served(spec, found, registry)
    cwd, cache = Path(values["cwd"]), Path(values["cache"])
    bounds = values.get("bounds")
    policy = read_policy(None if bounds is None else CallerBounds(**bounds))
    how: dict[str, Any] = {"count": spec.proof_rows, "dataset": spec.dataset, "cwd": cwd, "cache": cache}
    expected = [expect_answers(models, served, policy=policy, **how) for served in models.models]
    channel.send("expected", models=[_to_record(each) for each in expected])


def _to_record(expected: ExpectedAnswers) -> dict[str, Any]:
    return {
        "model": expected.model,
        "source": expected.source,
        "why": expected.why,
        "max_new_tokens": expected.max_new_tokens,
        "examples": [_example_record(example) for example in expected.examples],
        "answers": [answer.text for answer in expected.answers],
        "base": None if expected.base is None else [answer.text for answer in expected.base],
    }


def _from_record(record: dict[str, Any]) -> ExpectedAnswers:
    examples = [_to_example(each) for each in record["examples"]]

    def answers(texts: list[str]) -> list[ModelAnswer]:
        return [ModelAnswer(example, text) for example, text in zip(examples, texts, strict=True)]

    return ExpectedAnswers(
        record["model"],
        examples,
        answers(record["answers"]),
        None if record["base"] is None else answers(record["base"]),
        record["source"],
        record["why"],
        record["max_new_tokens"],
    )


def _example_record(example: Example) -> dict[str, Any]:
    turns = [
        [
            message.role,
            [
                {"text": part.text}
                if isinstance(part, TextPart)
                else {"path": part.image.path, "original": part.image.original}
                for part in message.parts
            ],
        ]
        for message in example.messages
    ]
    return {"row": example.row, "turns": turns}


def _to_example(record: dict[str, Any]) -> Example:
    return Example(
        record["row"],
        tuple(
            Message(
                role,
                tuple(
                    TextPart(part["text"]) if "text" in part else ImagePart(ImageRef(part["path"], part["original"]))
                    for part in parts
                ),
            )
            for role, parts in record["turns"]
        ),
    )


def main() -> NoReturn:
    """Serve requests on standard input until it closes."""
    channel = Channel.from_stdio()
    serve(channel, {"expect": lambda values: expect(values, channel)})
    exit_process()


if __name__ == "__main__":
    main()
