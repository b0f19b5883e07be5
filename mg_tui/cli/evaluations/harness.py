"""Public benchmarks are run by their own harnesses, against a server of the model: these are the commands.

Both speak OpenAI's protocol. lmms-eval has the server in its model arguments (its model `async_openai`); VLMEvalKit has
it in a configuration file (its class `GPT4V`, which wants a key that begins with sk-, and images in full size).
"""

import json
import shlex
from collections.abc import Iterator

DEFAULT_ENDPOINT = "http://localhost:8000/v1"
TASKS = {"lmms-eval": "docvqa_val,chartqa,textvqa_val", "vlmevalkit": "DocVQA_VAL ChartQA_TEST TextVQA_VAL"}


def harness_commands(harness: str, model: str, endpoint: str | None) -> Iterator[str]:
    """The lines to paste into a shell; comments say what has to be put in.

    Args:
        harness: "lmms-eval" or "vlmevalkit".
        model: the name under which the server has the model.
        endpoint: the server's API; a server on this machine when left out.
    """
    base = (endpoint or DEFAULT_ENDPOINT).rstrip("/")
    if endpoint is None:
        yield f"# serve the model first; this expects it at {base} (or give --endpoint)"
    if harness == "lmms-eval":
        yield from _lmms_eval(model, base)
    else:
        yield from _vlmevalkit(model, base)


def _lmms_eval(model: str, base: str) -> Iterator[str]:
    arguments = f"model_version={model},base_url={base},timeout=120"
    yield "pip install lmms-eval"
    yield "export OPENAI_API_KEY=${MODEL_GARDEN_API_KEY:-none}"
    yield f"export OPENAI_API_BASE={shlex.quote(base)}"
    yield (
        f"python -m lmms_eval --model async_openai --model_args {shlex.quote(arguments)} "
        f"--tasks {TASKS['lmms-eval']} --batch_size 1 --log_samples --output_path ./lmms-eval-results"
    )


def _vlmevalkit(model: str, base: str) -> Iterator[str]:
    config = {
        "model": {
            "served": {
                "class": "GPT4V",
                "model": model,
                "api_base": f"{base}/chat/completions",
                "key": "sk-none",
                "temperature": 0,
                "img_size": -1,
                "img_detail": "high",
                "retry": 10,
            }
        },
        "data": {name: {"class": "ImageVQADataset", "dataset": name} for name in TASKS["vlmevalkit"].split()},
    }
    yield "git clone https://github.com/open-compass/VLMEvalKit && pip install -e VLMEvalKit"
    yield f"printf '%s' {shlex.quote(json.dumps(config))} > vlmevalkit.json"
    yield "python VLMEvalKit/run.py --config vlmevalkit.json --work-dir ./vlmevalkit-results"
