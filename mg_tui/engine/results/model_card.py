"""The model card: README.md of a result, rendered from its metadata alone, so that a merge can render it again.

A card may be pushed or copied anywhere: it has no path of the machine it was written on.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mg_tui.core.options import format_flags, options_of
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.results.shareable import last_part, shareable_metadata, shareable_spec
from mg_tui.families.auto import AUTO_KEY, NOT_GUARANTEED
from mg_tui.runs.result_metadata import ResultMetadata

_LOAD_ADAPTER_CODE = """\
import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

result = {result}
base_name = {base}
base = AutoModelForImageTextToText.from_pretrained(base_name, dtype=torch.{dtype}{revision}{remote})
model = PeftModel.from_pretrained(base, result).eval()
processor = AutoProcessor.from_pretrained(result{remote})
"""

_LOAD_MODEL_CODE = """\
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

result = {result}
model = AutoModelForImageTextToText.from_pretrained(result, dtype=torch.{dtype}{remote}).eval()
processor = AutoProcessor.from_pretrained(result{remote})
"""

_EXAMPLE_PROMPT = "What is in this image?"
_GENERATE_CODE = """\
from PIL import Image, ImageOps

turns = [
{system}    {{"role": "user", "content": [{{"type": "image"}}, {{"type": "text", "text": {question}}}]}},
]
text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
image = ImageOps.exif_transpose(Image.open("image.jpg")).convert("RGB")
inputs = processor(text=[text], images=[image], return_tensors="pt").to(model.device)
output = model.generate(**inputs, max_new_tokens=256, do_sample=False, repetition_penalty=1.0)
print(processor.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
"""


def render_model_card(
    metadata: ResultMetadata,
    *,
    title: str,
    family: str,
    folder: Path,
    repository: str | None = None,
    base_license: Mapping[str, str] | None = None,
) -> str:
    """The card as Markdown with a YAML head.

    Of absolute paths it has the last name only: cards are published, and folders of one machine are private and
    meaningless elsewhere. Its commands work in the folder that contains the result (and a local base model).

    Args:
        metadata: the metadata of the result, with the numbers of its training.
        title: the heading: the run's name or the folder's.
        family: the family's title.
        folder: where the result is, for the commands that use it.
        repository: the name on the Hub of the repository that the card is for.
        base_license: `license`, `license_name` and `license_link` of the base model, as its own card has them.
    """
    local_base = last_part(metadata.base.path) if metadata.base.path and repository is None else None
    metadata = shareable_metadata(metadata)
    base_license = base_license or {}
    sections = [
        _front_matter(metadata, base_license),
        f"# {_escape_text(title)}\n\n{_description(metadata, family)}",
        _usage_section(metadata, folder, repository, local_base=local_base),
        _training_section(metadata),
        _options_section(metadata),
        _preprocessing_section(metadata),
        _merge_section(metadata),
        _versions_section(metadata),
        _license_section(base_license),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def train_command(spec: TrainingSpec) -> str:
    """The `train-vision` command for the same run, quoted for a shell, one option per line."""
    flags = format_flags(spec, shareable_spec(spec.changed()))
    return " \\\n  ".join(["model-garden train-vision", *flags])


def hub_name(metadata: ResultMetadata) -> str | None:
    """The base model's name on the hub; None when it was a local folder or an alias, which is meaningless elsewhere."""
    name = shareable_metadata(metadata).base.name
    return name if "/" in name else None


def _front_matter(metadata: ResultMetadata, base_license: Mapping[str, str]) -> str:
    """The YAML head. JSON's quoted strings are YAML's, so no text from outside can break out of its place."""
    base = hub_name(metadata)
    adapter = metadata.kind == "adapter"
    tags = ["model-garden", "vision-language", "transformers", *(["lora"] if adapter else [])]
    if base:
        tags.append(f"base_model:{'adapter' if adapter else 'finetune'}:{base}")
    # The hub refuses a card whose base_model is a folder on somebody's disk; the text below names it instead.
    head: list[tuple[str, Any]] = [("base_model", base)] if base else []
    head += [(key, base_license[key]) for key in ("license", "license_name", "license_link") if key in base_license]
    head += [
        ("library_name", "peft" if adapter else "transformers"),
        ("pipeline_tag", "image-text-to-text"),
        ("tags", tags),
    ]
    lines = []
    for key, value in head:
        if isinstance(value, list):
            lines += [f"{key}:", *(f"- {json.dumps(item, ensure_ascii=False)}" for item in value)]
        else:
            lines.append(f"{key}: {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(["---", *lines, "---"])


def _description(metadata: ResultMetadata, family: str) -> str:
    what = {
        "adapter": "A PEFT adapter for",
        "model": "A model trained in full from",
        "merged": "A model with its adapter merged in, from",
    }[metadata.kind]
    base = _inline_code(metadata.base.name)
    revision = f" at revision {_inline_code(metadata.base.revision)}" if metadata.base.revision else ""
    examples = metadata.training.get("examples")
    dataset = metadata.spec.get("dataset")
    data = f" on {examples:,} examples" if isinstance(examples, int) else ""
    data += f" of {_inline_code(str(dataset))}" if dataset else ""
    generic = (
        f"\n\nIt was trained generically (`--family auto`): {NOT_GUARANTEED}." if metadata.family == AUTO_KEY else ""
    )
    return f"{what} {base}{revision} ({_escape_text(family)}), fine-tuned with Model Garden{data}.{generic}"


def _usage_section(metadata: ResultMetadata, folder: Path, repository: str | None, *, local_base: str | None) -> str:
    import shlex

    remote = ", trust_remote_code=True" if metadata.trust_remote_code else ""
    base = repr(local_base or metadata.base.name)
    if local_base is None and hub_name(metadata) is None:
        base += "  # not a name on the Hub: put the place of this model here"
    values = {
        "result": repr(repository or folder.name),
        "base": base,
        "dtype": metadata.dtype,
        "revision": f", revision={metadata.base.revision!r}" if metadata.base.revision else "",
        "remote": remote,
    }
    load = (_LOAD_ADAPTER_CODE if metadata.kind == "adapter" else _LOAD_MODEL_CODE).format(**values)
    place = shlex.quote(repository or f"./{folder.name}")
    ours = f"model-garden generate-vision {place} --image image.jpg --prompt {_EXAMPLE_PROMPT!r}"
    # As in training: a trained system prompt is part of what the model expects.
    spoken = [{"type": "text", "text": metadata.system_prompt}]
    system = f'    {{"role": "system", "content": {_python_literal(spoken)}}},\n' if metadata.system_prompt else ""
    ask = _GENERATE_CODE.format(system=system, question=_python_literal(_EXAMPLE_PROMPT))
    codes = [
        _code_block(ours, "bash"),
        "Or without Model Garden:",
        _code_block(load, "python"),
        _code_block(ask, "python"),
    ]
    return "\n\n".join(["## Use it", *codes])


# Numbers by their key in the metadata: heading, and how a number is written.
_TRAINING_NUMBERS = (
    ("final_loss", "Final training loss", "{:.4f}"),
    ("eval_loss", "Evaluation loss", "{:.4f}"),
    ("steps", "Optimizer steps", "{:,}"),
    ("result_step", "Weights of step", "{:,}"),
    ("epochs", "Epochs", "{:g}"),
    ("examples", "Training examples", "{:,}"),
    ("eval_examples", "Evaluation examples", "{:,}"),
    ("skipped_rows", "Rows skipped", "{:,}"),
    ("supervised_tokens", "Supervised tokens", "{:,}"),
    ("trainable_parameters", "Trained parameters", "{:,}"),
    ("total_parameters", "Parameters in all", "{:,}"),
    ("seconds", "Time", "{:,.0f} s"),
    ("device", "Device", "{}"),
    ("peak_device_memory", "Peak device memory", "{:,} bytes"),
    ("energy_kwh", "Energy of the GPUs", "{:.3g} kWh"),
    ("gpu_hours", "GPU time", "{:.2f} h"),
    ("cost", "Cost", "{}"),
)


def _training_section(metadata: ResultMetadata) -> str:
    known = metadata.training
    rows = [
        (title, form.format(known[key]))
        for key, title, form in _TRAINING_NUMBERS
        if _is_shown_number(known.get(key), form)
    ]
    scores = known.get("eval_metrics")
    if isinstance(scores, dict):
        numbers = {name: score for name, score in scores.items() if isinstance(score, int | float)}
        rows += [(f"Evaluation, {_escape_text(name)}", f"{score:.4f}") for name, score in numbers.items()]
    parts = known.get("trained_parts")
    if isinstance(parts, dict):
        rows += [(f"Trained in {part}", f"{count:,} parameters") for part, count in parts.items()]
    rows.append(("Base model in", f"{metadata.dtype}, {metadata.quantization} quantization".replace("none", "no")))
    spec = metadata.training_spec()
    command = f"\n\nThe command for the same run:\n\n{_code_block(train_command(spec), 'bash')}" if spec else ""
    return f"## Training\n\n{_markdown_table(('', ''), rows)}{command}"


def _is_shown_number(value: object, form: str) -> bool:
    return isinstance(value, str if form == "{}" else int | float) and value not in ("", 0)


def _options_section(metadata: ResultMetadata) -> str:
    known = {opt.name: opt for opt in options_of(TrainingSpec)}
    rows = []
    for name, value in metadata.spec.items():
        if name in known:
            default = "" if known[name].required else _inline_code(_format_value(known[name].default))
            rows.append((known[name].title, _inline_code(_format_value(value)), default))
    return (
        f"## Options that differ from the defaults\n\n{_markdown_table(('Option', 'Value', 'Default'), rows)}"
        if rows
        else ""
    )


def _preprocessing_section(metadata: ResultMetadata) -> str:
    lines = [
        f"- images: EXIF orientation applied, RGB, resized to between {metadata.min_pixels:,} and "
        f"{metadata.max_pixels:,} pixels, in the order given",
        f"- system prompt: {_inline_code(metadata.system_prompt) if metadata.system_prompt else 'none of its own'}",
        "- chat template and tokenizer: the files beside this card",
    ]
    return "## Preprocessing\n\n" + "\n".join(lines) + "\n\nThe same is in `model_garden.json`, for programs."


def _merge_section(metadata: ResultMetadata) -> str:
    if not metadata.merge:
        return ""
    rows = [(str(key).replace("_", " "), _format_value(value)) for key, value in metadata.merge.items()]
    return f"## Merged and compared with the adapter\n\n{_markdown_table(('', ''), rows)}"


def _versions_section(metadata: ResultMetadata) -> str:
    rows = sorted(metadata.versions.items())
    return f"## Versions\n\n{_markdown_table(('', ''), rows)}" if rows else ""


def _license_section(base_license: Mapping[str, str]) -> str:
    known = base_license.get("license_name") or base_license.get("license")
    named = f" The base model's is {_inline_code(known)}." if known else ""
    text = "The license of the base model applies to it and, as a rule, to what is derived from it."
    return f"## License\n\n{text}{named}"


def _python_literal(value: object) -> str:
    """Texts and lists of them as Python source; JSON's strings are Python's too."""
    return json.dumps(value, ensure_ascii=False)


def _markdown_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _format_value(value: object) -> str:
    if value is None:
        return "left out"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _escape_text(text: str) -> str:
    """Untrusted text as Markdown text: on one line, marks escaped."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|" else c for c in " ".join(text.split()))


def _inline_code(text: str) -> str:
    """Untrusted text as inline code; a fence longer than any run of backticks in it cannot be closed by it."""
    text = " ".join(text.split())
    fence = "`" * (max((len(run) for run in _backtick_runs(text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _code_block(text: str, language: str) -> str:
    fence = "`" * max(3, max((len(run) for run in _backtick_runs(text)), default=0) + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _backtick_runs(text: str) -> list[str]:
    import re

    return re.findall("`+", text)
