"""The tiny checkpoint: whole, small, safe to load, and able to answer about drawings it has never seen."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from mg_tui.data.synthetic.drawings import BACKGROUNDS, COLORS, SHAPES, draw_image

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TINY = Path(__file__).parents[1] / "mg_qwen2_5_vl" / "tiny"


@pytest.fixture(scope="module")
def processor() -> Any:
    return transformers.AutoProcessor.from_pretrained(TINY)


@pytest.fixture(scope="module")
def model() -> Any:
    return transformers.AutoModelForImageTextToText.from_pretrained(TINY, dtype=torch.float32).eval()


def test_small_and_without_pickles() -> None:
    files = [path for path in TINY.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 8_000_000
    assert {path.suffix for path in files} <= {".json", ".jinja", ".md", ".safetensors", ".txt"}
    assert not [path for path in TINY.glob("*.json") if "auto_map" in json.loads(path.read_text())]


def test_the_classes_are_the_real_ones(model: Any, processor: Any) -> None:
    assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    assert type(processor).__name__ == "Qwen2_5_VLProcessor"
    config = json.loads((TINY / "config.json").read_text())
    assert config["model_type"] == "qwen2_5_vl"
    assert config["text_config"]["model_type"] == "qwen2_5_vl_text"
    assert config["vision_config"]["depth"] > len(config["vision_config"]["fullatt_block_indexes"]) > 0
    assert model.get_input_embeddings().weight.data_ptr() == model.lm_head.weight.data_ptr()


def test_special_tokens_are_single_and_known_to_the_config(model: Any, processor: Any) -> None:
    tokenizer = processor.tokenizer
    for token in ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
                  "<|image_pad|>", "<|video_pad|>", "<|box_start|>", "<|object_ref_end|>", "<tool_call>"):  # fmt: skip
        assert len(tokenizer(token)["input_ids"]) == 1, token
    assert model.config.image_token_id == tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert model.config.video_token_id == tokenizer.convert_tokens_to_ids("<|video_pad|>")
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert tokenizer.eos_token_id in model.generation_config.eos_token_id
    assert not model.generation_config.do_sample


def test_any_text_survives_the_tokenizer(processor: Any) -> None:
    text = "Straße, 日本語, 🙂\n\ttabs  and 12345 — it's all bytes."
    assert processor.tokenizer.decode(processor.tokenizer(text)["input_ids"]) == text


def test_the_chat_template_is_qwens(processor: Any) -> None:
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]
    assert processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        "<|vision_start|><|image_pad|><|vision_end|>What?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_answers_about_drawings_never_seen(model: Any, processor: Any) -> None:
    rng = random.Random("never seen")
    asked = []
    for _ in range(32):
        colour, background = rng.choice(list(COLORS)), rng.choice(list(BACKGROUNDS))
        image, _ = draw_image(rng, shapes=[(rng.choice(SHAPES), colour)], background=background, region="held_out")
        asked += [(image, "What is in the background?", background), (image, "What colour is the shape?", colour)]
    texts = [
        processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}],
            add_generation_prompt=True,
            tokenize=False,
        )
        for _, text, _ in asked
    ]
    inputs = processor(
        text=texts, images=[image for image, *_ in asked], padding=True, padding_side="left", return_tensors="pt"
    )
    with torch.inference_mode():
        out = model.generate(**inputs, max_new_tokens=8)
    answers = processor.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    right = sum(said == answer for said, (*_, answer) in zip(answers, asked, strict=True))
    assert right >= 48, [(said, answer) for said, (*_, answer) in zip(answers, asked, strict=True) if said != answer]
