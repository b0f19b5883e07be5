"""What ms-swift and LLaMA-Factory do with the rows of a dataset before they train: templates, tokens, and a cache."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from peers.base import MAX_LENGTH
from peers.llamafactory import STUBS

PROCESSES = 2


def preparation(key: str, model: Path, rows: Path, folder: Path, programs: Path) -> tuple[list[str], Mapping[str, str]]:
    """The command that prepares a dataset, and its environment.

    Args:
        key: "swift" (`export --to_cached_dataset`) or "lf" (`train` with `tokenized_path`, which ends before training).
        model: a folder.
        rows: JSON Lines with text, image and response; images relative to the file.
        folder: everything is written here.
        programs: the environment's bin folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "rows.jsonl"
    with data.open("w", encoding="utf-8") as file:
        file.writelines(_conversations(rows))
    if key == "swift":
        options = {"model": model, "model_type": "qwen2_5_vl", "template": "qwen2_5_vl", "dataset": data}
        options |= {"to_cached_dataset": "true", "output_dir": folder / "cached", "max_length": MAX_LENGTH}
        options |= {"split_dataset_ratio": 0, "dataset_num_proc": PROCESSES, "use_hf": "true"}
        flags = [str(text) for name, value in options.items() for text in (f"--{name}", value)]
        return [str(programs / "swift"), "export", *flags], {}
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    columns = {"messages": "messages", "images": "images"}
    described = {"file_name": data.name, "formatting": "sharegpt", "columns": columns, "tags": tags}
    (folder / "dataset_info.json").write_text(json.dumps({"rows": described}))
    settings = {
        "model_name_or_path": str(model),
        "stage": "sft",
        "do_train": True,
        "dataset_dir": str(folder),
        "dataset": "rows",
        "template": "qwen2_vl",
        "cutoff_len": MAX_LENGTH,
        "preprocessing_num_workers": PROCESSES,
        "tokenized_path": str(folder / "tokenized"),
        "output_dir": str(folder / "out"),
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
    }
    (folder / "lf.yaml").write_text(json.dumps(settings))  # JSON is YAML
    return [str(programs / "llamafactory-cli"), "train", str(folder / "lf.yaml")], {"PYTHONPATH": str(STUBS)}


def _conversations(rows: Path) -> Iterator[str]:
    with rows.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            turns = [
                {"role": "user", "content": f"<image>{row['text']}"},
                {"role": "assistant", "content": row["response"]},
            ]
            yield json.dumps({"messages": turns, "images": [str(rows.parent / row["image"])]}) + "\n"
