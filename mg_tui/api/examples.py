"""Examples of the OpenAPI document: requests, answers and errors."""

from collections.abc import Mapping
from typing import Any, Final

_ID: Final = "20261130-191500-k3fm-vision-model-1"
_EVALUATION_ID: Final = "20261130-201500-p7wq"

REQUESTS: Final[Mapping[str, Any]] = {
    "job": {
        "name": "vision-model-1",
        "base_model": "Qwen/Qwen2.5-VL-3B-Instruct",
        "dataset_path": "./data/vision_dataset.jsonl",
        "output_dir": "./models/vision-model-1",
        "model_type": "vision-language",
        "hyperparameters": {
            "learning_rate": 2e-5,
            "num_epochs": 3,
            "batch_size": 1,
            "gradient_accumulation_steps": 8,
        },
    },
    "rerun": {"learning_rate": 1e-5, "output_dir": "./models/vision-model-2"},
    "estimate": {"base_model": "Qwen/Qwen2.5-VL-3B-Instruct", "batch_size": 2, "quantization": "nf4"},
    "evaluation": {"model": _ID, "dataset": "./data/held_out.jsonl", "compare": "base", "limit": 200},
    "merge": {"model": "./models/mine", "output": "./models/mine-merged"},
    "export": {"model": "./models/mine", "output": "./exports/mine", "format": "vllm"},
    "serve": {"models": ["receipts=./models/mine"], "port": 8080},
    "check": {"dataset": "./data/vision_dataset.jsonl", "base_model": "tiny"},
    "tokens": {"dataset": "./data/vision_dataset.jsonl", "base_model": "tiny", "row": 1},
    "fine_tuning_job": {
        "model": "Qwen/Qwen2.5-VL-3B-Instruct",
        "training_file": "file-0123456789abcdef01234567",
        "suffix": "receipts",
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": 8}}},
        "max_pixels": 501760,
    },
}

_JOB: Final[Mapping[str, Any]] = {
    "object": "training.job",
    "id": _ID,
    "name": "vision-model-1",
    "tags": ["receipts"],
    "state": "running",
    "base_model": "Qwen/Qwen2.5-VL-3B-Instruct",
    "dataset": "/work/data/vision_dataset.jsonl",
    "output_dir": "/work/models/vision-model-1",
    "phase": "training",
    "step": 12,
    "total_steps": 300,
    "loss": 1.25,
    "eta_seconds": 910.0,
    "created_at": 1796066100.0,
    "attempt": 1,
    "links": {"self": f"/api/v1/training/jobs/{_ID}", "events": f"/api/v1/training/jobs/{_ID}/events"},
}


def _page(item: Any) -> dict[str, Any]:
    return {"object": "list", "data": [item], "has_more": False}


_EVALUATION: Final[Mapping[str, Any]] = {
    "object": "evaluation",
    "id": _EVALUATION_ID,
    "state": "finished",
    "model": _ID,
    "dataset": "/work/data/held_out.jsonl",
    "answered": 200,
    "total": 200,
    "metrics": {"exact_match": 0.81},
}
_MODEL_JOB: Final[Mapping[str, Any]] = {
    "object": "model.job",
    "id": "20261130-203000-v8ct",
    "operation": "merge",
    "state": "running",
    "model": "/work/models/mine",
    "target": "/work/models/mine-merged",
    "phase": "merging 28 layers from file to file, 7.51 GB",
    "done": 3,
    "total": 5,
    "error": None,
    "result": None,
}
_SERVER: Final[Mapping[str, Any]] = {
    "object": "server",
    "id": "20261130-210000-t5mw",
    "state": "running",
    "phase": "serving",
    "models": ["receipts"],
    "url": "http://127.0.0.1:8080/v1",
    "engine": "builtin",
    "requests": 128,
    "requests_per_second": 1.5,
    "latency_seconds": 0.42,
    "first_token_seconds": 0.08,
    "proof": {"receipts": {"outcome": "alike", "rows": 4, "alike": 4}},
    "error": None,
}
_CHECKPOINT: Final = {"step": 200, "path": "checkpoints/step-000200", "bytes": 52428800, "eval_loss": 0.9, "best": True}

_ANSWERS: Final[Mapping[str, Any]] = {
    "job": dict(_JOB),
    "job_list": _page(dict(_JOB)),
    "request": {"object": "request", "id": _ID, "request": "stop", "seen": True},
    "job_events": 'event: step\ndata: {"n":17,"t":1796066130.5,"kind":"step","step":12,"loss":1.25}\nid: 17\n\n',
    "job_files": _page(
        {
            "id": _ID,
            "journal": {"at": 5120, "text": '{"n":17,"t":1796066130.5,"kind":"step","step":12}\n'},
            "log": {"at": 900, "next": 918, "text": "loading the model\n"},
            "files": {"spec.json": "{}", "annotations.json": None},
        }
    ),
    "trash": _page({"object": "removed_job", "id": _ID, "removed_at": 1796066100.5}),
    "logs": _page("loading the model"),
    "metrics": {"object": "training.metrics", "stride": 1, "step": [1], "t": [1796066130.5], "loss": [1.25]},
    "samples": _page({"step": 200, "row": 3, "prompt": "What color is the car?", "answer": "Red", "expected": "Red"}),
    "checkpoints": _page(dict(_CHECKPOINT)),
    "evaluation": dict(_EVALUATION),
    "evaluation_list": _page(dict(_EVALUATION)),
    "evaluation_rows": _page({"row": 1, "answer": "Red", "references": ["Red"]}),
    "dataset_list": _page({"object": "dataset", "name": "receipts", "source": "garden.toml"}),
    "dataset_rows": _page({"row": 1, "values": {"text": "What is it?", "image": "a.png", "response": "A cat"}}),
    "check": {"rows": 100, "good_rows": 98, "blocks_run": True, "counts": {"image-missing": 2}},
    "tokens": {"row": 1, "seen": {"tokens": 80, "learned": 4, "image_tokens": 64}},
    "model_list": _page({"object": "model", "id": "/work/models/vision-model-1", "kind": "adapter", "run": _ID}),
    "model_job": dict(_MODEL_JOB),
    "model_job_list": _page(dict(_MODEL_JOB)),
    "server": dict(_SERVER),
    "server_list": _page(dict(_SERVER)),
    "engine_events": 'event: progress\ndata: {"done":1,"total":2}\n\nevent: result\ndata: {"text":"A cat"}\n\n',
    "device_list": _page({"object": "device", "name": "0", "used_by": None}),
    "device_sample": {
        "object": "device.sample",
        "time": 1796066130.5,
        "gpus": [{"index": 0, "name": "NVIDIA H200", "utilization": 97.0}],
        "host": {"cpu_percent": 12.0, "cores": 16},
        "why_no_gpu": None,
    },
    "estimate": {"base_model": "Qwen/Qwen2.5-VL-3B-Instruct", "peak": 18253611008, "places": []},
    "plugin_list": _page({"name": "my_family", "version": "0.3.0", "status": "ok"}),
    "setting_list": _page({"object": "setting", "id": "runs.resume_interrupted", "value": None, "origin": "default"}),
    "health": {"status": "ok", "version": "0.3.0", "runs": 3, "running": 1, "queued": 0},
    "file": {
        "id": "file-0123456789abcdef01234567",
        "object": "file",
        "bytes": 12000,
        "created_at": 1796066000,
        "filename": "train.jsonl",
        "purpose": "fine-tune",
        "status": "processed",
    },
    "file_deleted": {"id": "file-0123456789abcdef01234567", "object": "file", "deleted": True},
    "fine_tuning_job": {
        "id": f"ftjob-{_ID}",
        "object": "fine_tuning.job",
        "model": "Qwen/Qwen2.5-VL-3B-Instruct",
        "status": "running",
        "created_at": 1796066100,
        "training_file": "file-0123456789abcdef01234567",
    },
}
EXAMPLES: Final[Mapping[str, Any]] = {
    **_ANSWERS,
    "file_list": _page(_ANSWERS["file"]),
    "fine_tuning_list": _page(_ANSWERS["fine_tuning_job"]),
    "fine_tuning_events": _page(
        {"id": "ftevent-17", "object": "fine_tuning.job.event", "message": "Step 12: loss 1.25"}
    ),
    "fine_tuning_checkpoints": _page({"id": "ftckpt-200", "object": "fine_tuning.job.checkpoint", "step_number": 200}),
}

ERRORS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("bad-path", "The path is not a plain one."),
    401: ("token-missing", "Send a token: Authorization: Bearer mg_..."),
    403: ("outside-roots", "output_dir: it is outside the allowed folders"),
    404: ("job-not-found", f"There is no job {_ID!r}."),
    405: ("wrong-method", "This path has GET, POST."),
    408: ("body-too-slow", "The body took too long."),
    409: ("conflict", f"Run {_ID} is not running (state: finished)."),
    410: ("job-deleted", "The job of this Idempotency-Key was deleted."),
    206: ("partial", "Part of the file."),
    416: ("bad-range", "The range is not of this file."),
    413: ("body-too-large", "The body may have 1,048,576 bytes."),
    415: ("wrong-content-type", "Send the body as application/json."),
    421: ("wrong-host", "The Host header names no name of this server; --allow-host adds one."),
    422: ("invalid-options", "batch_size: got 0; give a whole number of examples at least 1"),
    429: ("too-fast", "Too many requests."),
    503: ("not-possible-here", "GPU 7 not found on this machine."),
}
