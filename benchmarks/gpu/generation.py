"""Answers to several questions about each image: batched generation with shared prefixes, and plain `generate`."""

from collections.abc import Callable
from typing import Any

import torch
from device import median_seconds, open_device
from equivalence import read_examples
from inputs import checkpoint_folder, five_question_rows
from model import load_random_model, spec_of
from tasks import BenchmarkSetting, TaskReport

from mg_tui.core.example import Example
from mg_tui.engine.batching.batches import open_images
from mg_tui.engine.generation.generate import generate_rows
from mg_tui.engine.generation.interface import GenerationCallbacks, GenerationModel
from mg_tui.engine.inference.generation import Sampling, generation_config
from mg_tui.engine.run import setup
from mg_tui.families.contract import LoadRequest


def compare_methods(report: TaskReport, setting: BenchmarkSetting) -> None:
    """A task: rows per second and peak memory of both, and the number of identical answers.

    `generate` gets 8 rows at a time, then all at once. In 16 bits some answers of random weights differ.
    """
    device, new_tokens = open_device(setting), 4 if setting.dry else 32
    rows = five_question_rows(setting)
    examples = read_examples(rows.file(setting), 10 if setting.dry else 40)
    encoder = setup.load_run_context(spec_of(setting, max_pixels=rows.side**2)).encoder
    assert encoder is not None
    dtype = "float32" if setting.dry else "bfloat16"
    model = load_random_model(None, LoadRequest(str(checkpoint_folder(setting)), dtype, setting.device))
    sampling = Sampling(max_new_tokens=new_tokens)
    config = generation_config(model, encoder.processor.tokenizer, sampling)
    notices: list[str] = []
    callbacks = GenerationCallbacks(on_notice=notices.append)

    def batched() -> list[str]:
        answers = generate_rows(GenerationModel(model, encoder), examples, sampling, callbacks=callbacks)
        texts = {answer.index: answer.answer.text for answer in answers}
        return [texts[number] for number in range(len(examples))]

    def plain(batch: int) -> Callable[[], list[str]]:
        starts = range(0, len(examples), batch)
        return lambda: [text for start in starts for text in generate(examples[start : start + batch])]

    def generate(part: list[Example]) -> list[str]:
        opened = open_images(part)
        images = [[opened[ref.path] for ref in example.images] for example in part]
        inputs = encoder.encode_prompts([example.prompt for example in part], images)
        inputs = {name: value.to(device.name) if torch.is_tensor(value) else value for name, value in inputs.items()}
        with torch.inference_mode():
            output = model.generate(**inputs, generation_config=config)
        generated = output[:, inputs["input_ids"].shape[1] :]
        return list(encoder.processor.tokenizer.batch_decode(generated, skip_special_tokens=True))

    report.put(rows=len(examples), new_tokens=new_tokens)
    methods = {"batched": batched, "generate, 8 rows": plain(8), "generate, all rows": plain(len(examples))}
    answers: dict[str, list[str]] = {}
    for name, method in methods.items():
        if report.seconds_left() < 3:
            report.add("methods", {"name": name, "why_not": "no time was left"})
            continue
        answers[name] = method()
        device.reset_peaks()
        seconds = median_seconds(method, device, 1 if setting.dry else 2)
        identical = sum(text == other for text, other in zip(answers[name], answers["batched"], strict=True))
        result: dict[str, Any] = {"name": name, "seconds": seconds, "rows_per_second": len(examples) / seconds}
        report.add("methods", {**result, "peak": device.peaks()["allocated"], "identical_answers": identical})
    report.put(notices=notices)
