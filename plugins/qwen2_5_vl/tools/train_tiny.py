"""Make the tiny Qwen2.5-VL checkpoint from nothing: tokenizer, configuration, random weights, pre-training.

    python plugins/qwen2_5_vl/tools/train_tiny.py [--out FOLDER] [--steps N] [--seed N]

The result is a Qwen2.5-VL in every respect but size. It learns on images drawn while it trains (shapes, colours,
counts, places, captions) and on crops of nine real photos (photo or drawing, main colour, brightness).

Answers alone teach a random vision tower very slowly: a word is little to learn a whole image from. So the tower
first learns to see, without the language model: a linear layer, thrown away afterwards, tells for each image token what
is drawn there and roughly what its pixels are. Then everything is trained together, with the loss on the answers (and,
with little weight, still on what is seen).

One row of a batch is one image with several questions. The questions are branches of a tree: each sees the image
and itself but not the others, and has the positions it would have alone, so that the image is computed once and every
question is still learned as if it had been asked first. Some rows are ordinary conversations of several turns instead.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import PIL
import tokenizers
import torch
import transformers
from PIL import Image
from tiny_conversations import Row, corpus, make_crowd, make_image, make_row
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as qwen

from mg_tui.data.synthetic.drawings import (
    BACKGROUNDS,
    COLORS,
    PHOTO_BACKGROUND,
    SHAPES,
    DrawingFacts,
    VisualQuestion,
    make_questions,
)

# The real tokenizer's control tokens and tools' tokens, in the real order.
SPECIAL = (
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|> "
    "<|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>"
).split()
NOT_SPECIAL = (
    "<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|>"
).split()
PRETOKENIZE = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}"
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "{% set image_count.value = image_count.value + 1 %}{% if add_vision_id %}Picture {{ image_count.value }}: "
    "{% endif %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}"
    "{% set video_count.value = video_count.value + 1 %}{% if add_vision_id %}Video {{ video_count.value }}: "
    "{% endif %}<|vision_start|><|video_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}"
    "{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}"
    "<|im_start|>assistant\n{% endif %}"
)
VOCABULARY = 1536
MIN_PIXELS, MAX_PIXELS = 56 * 56, 112 * 112

# --- tokenizer, processor, model -------------------------------------------------------------------------------------


def make_tokenizer(seed: int) -> Qwen2Tokenizer:
    """A byte-level BPE of Qwen2's make, trained on our own text."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PRETOKENIZE), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        corpus(seed),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY - len(SPECIAL) - len(NOT_SPECIAL),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    trained = json.loads(bpe.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=trained["vocab"],
        merges=[tuple(pair) for pair in trained["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=None,
        model_max_length=32768,
        chat_template=CHAT_TEMPLATE,
    )
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL], special_tokens=True)
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in NOT_SPECIAL])
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[1:]})
    return tokenizer


def make_processor(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLProcessor:
    """Qwen2.5-VL's processor with pixel limits for small images."""
    pixels = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=pixels, patch_size=14, merge_size=2, temporal_patch_size=2),
        video_processor=Qwen2VLVideoProcessor(size=pixels, patch_size=14, merge_size=2, temporal_patch_size=2),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
    )


def make_model(tokenizer: Qwen2Tokenizer, seed: int) -> Qwen2_5_VLForConditionalGeneration:
    """The architecture with its real configuration classes, small, and with random weights."""
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": 128,
            "intermediate_size": 448,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 4,
            "hidden_size": 128,
            "intermediate_size": 320,
            "num_heads": 4,
            "out_hidden_size": 128,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "tokens_per_second": 2,
            "window_size": 56,  # half of the real one, so that a 112-pixel image has four windows
            "fullatt_block_indexes": [1, 3],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    # The usual 0.02 is meant for widths of thousands: at 128 it leaves the gated layers with next to no signal.
    for name, weight in model.named_parameters():
        if "embed_tokens" in name:
            nn.init.normal_(weight, std=0.05)
        elif weight.ndim >= 2:
            into_residual = name.endswith(("down_proj.weight", "o_proj.weight", "attn.proj.weight"))
            nn.init.normal_(weight, std=(0.5 if into_residual else 1.0) / math.sqrt(weight[0].numel()))
    model.generation_config = GenerationConfig(
        do_sample=False,
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=[ids["<|im_end|>"], ids["<|endoftext|>"]],
        pad_token_id=ids["<|endoftext|>"],
    )
    return model


def equal_blocks_attention(self: nn.Module, hidden_states: Tensor, cu_seqlens: Tensor, **kwargs: object) -> Tensor:
    """The vision tower's attention with all blocks of one length in one call: the same result, several times faster.

    The model's own code calls attention once per window and image, which is most of the time at this size.
    """
    length = hidden_states.shape[0]
    qkv = self.qkv(hidden_states).reshape(length, 3, self.num_heads, -1).permute(1, 0, 2, 3)
    cos, sin = kwargs["position_embeddings"]  # type: ignore[misc]
    query, key = qwen.apply_rotary_pos_emb_vision(qkv[0], qkv[1], cos, sin)
    starts, lengths = cu_seqlens[:-1], cu_seqlens.diff()
    result = torch.empty_like(query)
    for size in lengths.unique().tolist():
        index = starts[lengths == size][:, None] + torch.arange(size)
        blocks = (part[index].transpose(1, 2) for part in (query, key, qkv[2]))
        out = nn.functional.scaled_dot_product_attention(*blocks, scale=self.scaling)
        result = result.index_put((index,), out.transpose(1, 2))
    return self.proj(result.reshape(length, -1))


# --- batches ---------------------------------------------------------------------------------------------------------


@dataclass
class TreeBatch:
    """Rows laid out for one forward pass."""

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    labels: Tensor  # the next token where it is learned from, else -100


class TreeCollator:
    """Turns rows into token ids, positions, the tree mask and labels."""

    def __init__(self, processor: Qwen2_5_VLProcessor) -> None:
        self.tokenizer = processor.tokenizer
        self.image_processor = processor.image_processor
        self.image_token = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def prefix(self, row: Row) -> tuple[list[int], list[tuple[int, int, int]]]:
        """Everything before the first question, with its positions in time, height and width."""
        text = f"<|im_start|>system\n{row.system}<|im_end|>\n" if row.system else ""
        before = self.ids(text + "<|im_start|>user\n" + ("<|vision_start|>" if row.image else ""))
        places = [(i, i, i) for i in range(len(before))]
        if row.image is None:
            return before, places
        height, width = row.image.height // 28, row.image.width // 28
        start = len(before)
        places += [(start, start + y, start + x) for y in range(height) for x in range(width)]
        after = start + max(height, width)
        return [*before, *[self.image_token] * (height * width), *self.ids("<|vision_end|>")], [*places, (after,) * 3]

    def length(self, row: Row) -> int:
        """Roughly how long a row will be."""
        return len(self.prefix(row)[0]) + sum(len(self.ids(question + answer)) for question, answer in row.turns)

    def batch(self, rows: list[Row]) -> TreeBatch:
        laid = []
        for row in rows:
            ids, places = self.prefix(row)
            first, position = len(ids), places[-1][0] + 1
            branches, labels, offset = [-1] * first, [-100] * first, position
            for number, (question, answer) in enumerate(row.turns):
                asked = self.ids(question + "<|im_end|>\n<|im_start|>assistant\n")
                if number and not row.branching:
                    asked = [*self.ids("<|im_start|>user\n"), *asked]
                said = self.ids(answer + "<|im_end|>")
                turn = [*asked, *said, *self.ids("\n")]
                offset = position if row.branching else offset
                ids += turn
                places += [(offset + i,) * 3 for i in range(len(turn))]
                branches += [number if row.branching else 0] * len(turn)
                labels += [-100] * (len(asked) - 1) + said + [-100, -100]
                offset += len(turn)
            laid.append((ids, places, branches, labels))
        length = max(len(ids) for ids, *_ in laid)
        count = len(rows)
        pad = self.tokenizer.pad_token_id
        input_ids, all_labels = torch.full((count, length), pad), torch.full((count, length), -100)
        position_ids, branch = torch.zeros(3, count, length, dtype=torch.long), torch.full((count, length), -2)
        for i, (ids, places, branches, labels) in enumerate(laid):
            input_ids[i, : len(ids)] = torch.tensor(ids)
            position_ids[:, i, : len(ids)] = torch.tensor(places).T
            branch[i, : len(ids)] = torch.tensor(branches)
            all_labels[i, : len(ids)] = torch.tensor(labels)
        # A token sees what comes before it in its own branch and in the prefix.
        same = (branch[:, None, :] == branch[:, :, None]) | (branch[:, None, :] == -1)
        visible = (same & torch.ones(length, length, dtype=torch.bool).tril())[:, None]
        return TreeBatch(input_ids, position_ids, visible, all_labels)


class TokenProbe(nn.Linear):
    """What an image shows at each image token, read off its features by one linear layer that is thrown away."""

    parts = (len(SHAPES) + 1, len(COLORS) + 1, 2, len(BACKGROUNDS) + 1)  # kind, colour, a centre or not, background
    pixels = 3 * 7 * 7  # the 28 pixels square of one token, four times smaller

    def __init__(self, width: int) -> None:
        super().__init__(width, sum(self.parts) + self.pixels)

    def loss(self, features: Tensor, rows: list[Row]) -> Tensor:
        """Mean loss over the image tokens of these rows."""
        named, looks = (torch.cat(part) for part in zip(*(self.targets(row) for row in rows), strict=True))
        *scores, guessed = self(features).split([*self.parts, self.pixels], dim=-1)
        total = 4 * nn.functional.mse_loss(guessed, looks)
        for score, target in zip(scores, named.T, strict=True):
            total = total + nn.functional.cross_entropy(score, target)
        covered = named[:, 0] > 0
        if covered.any():
            # Most tokens show no shape, and to tell the shapes apart is the hardest part.
            total = total + nn.functional.cross_entropy(scores[0][covered], named[covered, 0])
            total = total + 0.3 * nn.functional.cross_entropy(scores[1][covered], named[covered, 1])
        return total

    @staticmethod
    def targets(row: Row) -> tuple[Tensor, Tensor]:
        """Names (tokens x 4) and small pixels (tokens x 147) of one image."""
        assert row.image is not None
        backgrounds = [*BACKGROUNDS, PHOTO_BACKGROUND]
        drawing = row.facts if isinstance(row.facts, DrawingFacts) else None
        behind = backgrounds.index(drawing.background if drawing else PHOTO_BACKGROUND)
        names = []
        for y in range(14, row.image.height, 28):
            for x in range(14, row.image.width, 28):
                found = (0, 0, 0)
                near = min(drawing.shapes, key=lambda s: math.dist((s.x, s.y), (x, y))) if drawing else None
                if near:
                    centre = max(abs(near.x - x), abs(near.y - y)) <= 14
                    if centre or math.dist((near.x, near.y), (x, y)) < near.radius:
                        found = (1 + SHAPES.index(near.kind), 1 + list(COLORS).index(near.color), int(centre))
                names.append((*found, behind))
        small = row.image.reduce(4)
        looks = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).float() / 127.5 - 1
        cells = looks.view(small.height // 7, 7, small.width // 7, 7, 3).transpose(1, 2)
        return torch.tensor(names), cells.reshape(-1, TokenProbe.pixels)


def image_features(
    model: Qwen2_5_VLForConditionalGeneration, layout: TreeCollator, images: list[Image.Image]
) -> Tensor:
    """The features of all image tokens."""
    pixels = layout.image_processor(images=images, return_tensors="pt")
    features: Tensor = model.model.visual(pixels["pixel_values"], grid_thw=pixels["image_grid_thw"]).pooler_output
    return features


def batch_loss(
    model: Qwen2_5_VLForConditionalGeneration, layout: TreeCollator, rows: list[Row], sight: TokenProbe
) -> tuple[Tensor, int, Tensor]:
    """Cross-entropy summed over the tokens of the answers, how many those are, and the mean loss of what is seen."""
    batch = layout.batch(rows)
    embeds = model.get_input_embeddings()(batch.input_ids)
    seen = torch.zeros(())
    shown = [row for row in rows if row.image is not None]
    if shown:
        features = image_features(model, layout, [row.image for row in shown if row.image is not None])
        seen = sight.loss(features, shown)
        embeds = embeds.masked_scatter((batch.input_ids == layout.image_token)[..., None], features)
    hidden = model.model.language_model(
        inputs_embeds=embeds, position_ids=batch.position_ids, attention_mask=batch.attention_mask, use_cache=False
    ).last_hidden_state
    learned = batch.labels != -100
    loss = nn.functional.cross_entropy(model.lm_head(hidden[learned]), batch.labels[learned], reduction="sum")
    return loss, int(learned.sum()), seen


# --- measuring -------------------------------------------------------------------------------------------------------


def held_out_questions(seed: int, images: int) -> list[tuple[Image.Image, VisualQuestion]]:
    """Questions on images from another seed, whose photo crops come from the regions never trained on."""
    rng = random.Random(f"held out {seed}")
    asked = []
    for _ in range(images):
        image, facts = make_image(rng, simple=0.2, region="held_out")
        asked += [(image, question) for question in make_questions(rng, facts)]
    return asked


@torch.inference_mode()
def generate_answers(
    model: Qwen2_5_VLForConditionalGeneration, processor: Qwen2_5_VLProcessor, asked: list[tuple[Image.Image, str]]
) -> list[str]:
    """Greedy answers, by the processor and ``generate`` as any user would call them."""
    processor.tokenizer.padding_side = "left"
    answers = []
    for start in range(0, len(asked), 64):
        part = asked[start : start + 64]
        texts = [
            processor.apply_chat_template(
                [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}],
                add_generation_prompt=True,
                tokenize=False,
            )
            for _, text in part
        ]
        inputs = processor(text=texts, images=[image for image, _ in part], padding=True, return_tensors="pt")
        out = model.generate(**inputs, max_new_tokens=48)
        answers += processor.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return answers


def exact_match(
    model: Qwen2_5_VLForConditionalGeneration, processor: Qwen2_5_VLProcessor, seed: int, images: int
) -> dict[str, tuple[int, int]]:
    """Right answers and questions by kind."""
    asked = held_out_questions(seed, images)
    answers = generate_answers(model, processor, [(image, question.text) for image, question in asked])
    score: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for (_, question), said in zip(asked, answers, strict=True):
        score[question.kind][0] += said == question.answer
        score[question.kind][1] += 1
    return {kind: (right, total) for kind, (right, total) in sorted(score.items())}


def format_table(score: dict[str, tuple[int, int]]) -> str:
    """The score as a markdown table."""
    right, total = (sum(values) for values in zip(*score.values(), strict=True))
    lines = ["| question | right | of | exact match |", "|---|---|---|---|"]
    for kind, (r, n) in [*score.items(), ("**all**", (right, total))]:
        lines.append(f"| {kind} | {r} | {n} | {r / n:.3f} |")
    return "\n".join(lines)


# --- the whole -------------------------------------------------------------------------------------------------------


class OptimizerSchedule:
    """AdamW with warm-up and cosine."""

    def __init__(self, parameters: list[nn.Parameter], rate: float, steps: int) -> None:
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.05},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.parameters, self.rate, self.steps, self.done = parameters, rate, steps, 0
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)

    def step(self) -> None:
        self.done += 1
        warm = min(1.0, self.done / min(100, self.steps // 10 + 1))
        cosine = 0.5 * (1 + math.cos(math.pi * (self.done - 1) / self.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * warm * (0.02 + 0.98 * cosine)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class ProgressPrinter:
    """Prints the mean loss of the last hundred steps now and then."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps, self.done, self.recent, self.began = (
            name,
            steps,
            0,
            deque[float](maxlen=100),
            time.monotonic(),
        )

    def add(self, loss: float) -> float:
        self.done += 1
        self.recent.append(loss)
        mean = sum(self.recent) / len(self.recent)
        if self.done % 100 == 0 or self.done == self.steps:
            print(f"{self.name} {self.done} loss {mean:.4f} {time.monotonic() - self.began:.0f}s", flush=True)
        return mean


def pretrain_vision(
    model: Qwen2_5_VLForConditionalGeneration,
    layout: TreeCollator,
    sight: TokenProbe,
    *,
    steps: int,
    rows: int,
    seed: int,
) -> None:
    """The vision tower alone, on what each image token shows."""
    rng = random.Random(f"see {seed}")
    schedule = OptimizerSchedule([*model.model.visual.parameters(), *sight.parameters()], 3e-3, steps)
    report = ProgressPrinter("seeing", steps)
    for _ in range(steps):
        shown = [Row(*make_crowd(rng), None, []) for _ in range(rows)]
        loss = sight.loss(image_features(model, layout, [row.image for row in shown if row.image is not None]), shown)
        loss.backward()
        schedule.step()
        report.add(loss.item())


def train_model(
    model: Qwen2_5_VLForConditionalGeneration,
    layout: TreeCollator,
    sight: TokenProbe,
    *,
    steps: int,
    rows: int,
    turns: int,
    rate: float,
    seed: int,
) -> float:
    """Everything together, on the answers; returns the mean loss of the last hundred steps."""
    rng = random.Random(f"answer {seed}")
    schedule = OptimizerSchedule([*model.parameters(), *sight.parameters()], rate, steps)
    report = ProgressPrinter("answering", steps)
    mean = math.nan
    for step in range(steps):
        # Single shapes first: what shapes and colours are comes before how many there are.
        simple = max(0.2, 0.6 - 2 * step / steps)
        drawn = sorted((make_row(rng, simple=simple, turns=turns) for _ in range(rows)), key=layout.length)
        # Two forward passes, short rows and long ones, waste less on padding than one.
        parts = [batch_loss(model, layout, half, sight) for half in (drawn[: rows // 2], drawn[rows // 2 :])]
        loss = sum(part for part, _, _ in parts) / sum(count for _, count, _ in parts)
        (loss + 0.1 * sum(seen for _, _, seen in parts) / len(parts)).backward()
        schedule.step()
        mean = report.add(loss.item())
    return mean


README = """---
license: apache-2.0
---

# tiny: a Qwen2.5-VL in every respect but size

{parameters:.2f} million parameters, {vocabulary} tokens, images of up to {pixels} pixels. The architecture,
configuration classes, tokenizer structure, special tokens, chat template and processor are Qwen2.5-VL's; only the sizes
differ (text: 4 layers of 128; vision: 4 blocks of 128, windows of 56 pixels, full attention in blocks 1 and 3). It
shares no weights and no vocabulary with any released model.

It exists to try things out in seconds: the demo, the tests, a first run on a machine without a GPU. It tells shapes,
colours and backgrounds, small numbers, and a photo from a drawing; of places it mostly guesses, as the table says. It
is of no use for anything else.

## How it was made

    {command}

From scratch: the byte-level BPE tokenizer was trained on the script's own text, and the weights started at random (seed
{seed}). The vision tower first learned alone to tell what is drawn at each image token ({seeing} steps, with a linear
layer that was thrown away). Then everything was trained, with the loss on the answers: {steps} steps of {rows} images
with {turns} questions each, AdamW, warm-up and cosine, peak learning rate {rate}; in all {seconds:.0f} seconds on
{threads} CPU cores, final loss {loss:.4f}. The images were drawn on the fly by `mg_tui.data.synthetic.drawings`; photo
crops came from the training regions of the nine photos in `mg_tui/data/synthetic/photos` (licenses: `ATTRIBUTION.md`
there).
The demo's questions and answers (`mg_tui.data.synthetic.demo`) are not in it.

Made on {today} with torch {torch}, transformers {transformers}, tokenizers {tokenizers}, pillow {pillow}. Weights are
stored in bfloat16.

## What it scores

Exact match of greedy answers in float32, after saving and loading, on {images} images drawn from another seed, with
photo crops and photo backgrounds from regions that pre-training never saw:

{table}

Licence: Apache-2.0, as the rest of the package.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the tiny Qwen2.5-VL checkpoint from scratch.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "mg_qwen2_5_vl" / "tiny")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeing", type=int, default=2500, help="steps of the vision tower alone")
    parser.add_argument("--rows", type=int, default=16, help="images per step")
    parser.add_argument("--turns", type=int, default=4, help="questions per image")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=200, help="held-out images to measure on")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    began = time.monotonic()
    tokenizer = make_tokenizer(args.seed)
    processor = make_processor(tokenizer)
    model = make_model(tokenizer, args.seed)
    model.generation_config.max_new_tokens = 48
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"{len(tokenizer)} tokens, {parameters:.2f}M parameters", flush=True)

    own = qwen.Qwen2_5_VLVisionAttention.forward
    qwen.Qwen2_5_VLVisionAttention.forward = equal_blocks_attention
    try:
        layout, sight = TreeCollator(processor), TokenProbe(model.config.text_config.hidden_size)
        pretrain_vision(model, layout, sight, steps=args.seeing, rows=args.rows, seed=args.seed)
        loss = train_model(
            model, layout, sight, steps=args.steps, rows=args.rows, turns=args.turns, rate=args.rate, seed=args.seed
        )
    finally:
        qwen.Qwen2_5_VLVisionAttention.forward = own
    seconds = time.monotonic() - began

    shutil.rmtree(args.out, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(args.out)
    processor.save_pretrained(args.out)
    loaded = Qwen2_5_VLForConditionalGeneration.from_pretrained(args.out, dtype=torch.float32).eval()
    score = exact_match(loaded, Qwen2_5_VLProcessor.from_pretrained(args.out), args.seed, args.images)
    print(format_table(score))
    (args.out / "README.md").write_text(
        README.format(
            parameters=parameters, vocabulary=len(tokenizer), pixels=MAX_PIXELS, seed=args.seed, steps=args.steps,
            seeing=args.seeing, rows=args.rows, turns=args.turns, rate=args.rate, seconds=seconds, loss=loss,
            threads=args.threads, images=args.images,
            today=date.today(), torch=torch.__version__, transformers=transformers.__version__,
            tokenizers=tokenizers.__version__, pillow=PIL.__version__, table=format_table(score),
            command=f"python plugins/qwen2_5_vl/tools/train_tiny.py --seeing {args.seeing} --steps {args.steps} "
                    f"--images {args.images} --rows {args.rows} --turns {args.turns} --rate {args.rate} "
                    f"--seed {args.seed}",
        )
    )  # fmt: skip
    size = sum(path.stat().st_size for path in args.out.iterdir()) / 1e6
    print(f"{args.out}: {size:.2f} MB, trained in {seconds:.0f} s, all in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
