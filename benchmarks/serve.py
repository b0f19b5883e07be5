"""Serving, side by side: `model-garden serve` with its built-in engine, and `transformers serve`, on the same model.

    uv run python benchmarks/serve.py                          # 134.7M parameters, 8 clients, 5 questions an image
    uv run python benchmarks/serve.py --model tiny --images 8 --tokens 8

Each server is a process of its own, started one after the other. Every client asks all questions about one image after
another, then takes the next image: the same requests for both, images as data URIs, greedy, with the same number of
tokens. The time of one pass over all of them counts, after a warm-up with other images. The first token is that of a
single streamed request, median of several; plain `generate` in this process is asked the same.
"""

import argparse
import base64
import contextlib
import json
import os
import queue
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
from harness.model import make_model
from harness.synthetic_data import DataKind, make_questions, make_rows, read_rows

QUESTIONS = DataKind("serve5", "5 questions an image", per_image=5, per_step=10, pairs=make_questions)


def with_saved_limits(model: Path, folder: Path) -> str:
    """A copy of a model that says it was trained with its processor's own limits of images' areas.

    Without that `serve` would take the defaults of training, and the two would be asked about images of other sizes.
    """
    from transformers import AutoProcessor

    from mg_tui.runs.result_metadata import METADATA_FILE

    if not (folder / METADATA_FILE).is_file():
        shutil.copytree(model, folder, dirs_exist_ok=True)
        size = AutoProcessor.from_pretrained(model).image_processor.size
        least, most = size["shortest_edge"], size["longest_edge"]
        facts = {"schema": 1, "kind": "model", "family": "qwen2_5_vl", "model_type": "qwen2_5_vl"}
        facts |= {"base": {"name": str(model)}, "min_pixels": least, "max_pixels": most}
        (folder / METADATA_FILE).write_text(json.dumps(facts))
    return str(folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(words: Sequence[str], port: int, log: Path) -> Iterator[str]:
    """A server, once its health check answers; ended afterwards."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            words, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "HF_HUB_OFFLINE": "1"}
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 600
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{words[0]} did not start:\n{log.read_text()[-2000:]}")
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{url}/health").status_code == 200:
                    break
            time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def garden(model: str, port: int) -> list[str]:
    program = str(Path(sys.executable).parent / "model-garden")
    options = ["--port", str(port), "--engine", "builtin", "--device", "cpu", "--proof-rows", "0"]
    return [program, "serve", f"benchmarked={model}", *options]


def transformers(model: str, port: int) -> list[str]:
    program = str(Path(sys.executable).parent / "transformers")
    return [program, "serve", model, "--port", str(port), "--device", "cpu", "--dtype", "float32"]


def body_of(name: str, image: str, question: str, tokens: int, *, stream: bool = False) -> dict[str, Any]:
    uri = "data:image/jpeg;base64," + base64.b64encode(Path(image).read_bytes()).decode()
    content = [{"type": "image_url", "image_url": {"url": uri}}, {"type": "text", "text": question}]
    messages = [{"role": "user", "content": content}]
    return {"model": name, "messages": messages, "max_tokens": tokens, "temperature": 0, "stream": stream}


def ask_all(url: str, name: str, images: Sequence[Sequence[Any]], clients: int, tokens: int) -> tuple[float, list[Any]]:
    """Seconds until every question is answered, and the answers in order with the tokens of their prompts."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(images)):
        waiting.put(number)
    answers: dict[tuple[int, int], tuple[str, int]] = {}

    def client() -> None:
        with httpx.Client(timeout=600) as connection:
            while True:
                try:
                    number = waiting.get_nowait()
                except queue.Empty:
                    return
                for at, row in enumerate(images[number]):
                    body = body_of(name, row.image, row.text, tokens)
                    response = connection.post(f"{url}/v1/chat/completions", json=body)
                    response.raise_for_status()
                    record = response.json()
                    text, counts = record["choices"][0]["message"]["content"], record["usage"]
                    answers[number, at] = (text, int(counts["prompt_tokens"]))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    return seconds, [answers[key] for key in sorted(answers)]


def first_token(url: str, name: str, rows: Sequence[Any], tokens: int) -> float:
    """Median seconds until the first piece of text of a streamed answer; every row has an image of its own."""
    seconds = []
    with httpx.Client(timeout=600) as connection:
        for row in rows:
            body = body_of(name, row.image, row.text, tokens, stream=True)
            began = time.perf_counter()
            with connection.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
                for line in response.iter_lines():
                    if line.startswith("data: {"):
                        choices = json.loads(line[6:]).get("choices")
                        if choices and choices[0]["delta"].get("content"):
                            seconds.append(time.perf_counter() - began)
                            break
    return statistics.median(seconds)


def first_token_of_generate(model: str, rows: Sequence[Any], tokens: int) -> float:
    """The same of `generate` in this process."""
    from mg_tui.core.example import ImagePart, ImageRef, Message, TextPart
    from mg_tui.data.images import open_image
    from mg_tui.engine.inference.generation import Sampling, generate_answer, make_encoder
    from mg_tui.engine.inference.loading import load_for_inference

    loaded = load_for_inference(model, home=Path(), device="cpu")
    encoder = make_encoder(loaded.family, loaded.processor, loaded.metadata.preprocessing)
    seconds = []
    for row in rows:
        message = Message("user", (ImagePart(ImageRef(row.image, row.image)), TextPart(row.text)))
        began = time.perf_counter()
        answer = generate_answer(loaded.model, encoder, [message], [open_image(row.image)], Sampling(tokens))
        seconds.append(answer.first_token_seconds + (time.perf_counter() - began - answer.seconds))
    return statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("/tmp/model-garden-benchmarks"))
    parser.add_argument(
        "--model", default="", help="another model than the one of 134.7M parameters: tiny, or a folder"
    )
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--first", type=int, default=9, help="streamed requests of which the median counts")
    arguments = parser.parse_args()
    work, model = arguments.work, arguments.model
    if not model:
        make_model(work / "model")
        model = str(work / "model")
    elif model == "tiny":
        from mg_tui.families.registry import load_registry

        model = load_registry().resolve("tiny").source
    count = arguments.images + arguments.first + 3
    groups: dict[str, list[Any]] = {}
    for row in read_rows(make_rows(work / f"data-serve-{count}", QUESTIONS, (count + 1) // 2)):
        groups.setdefault(row.image, []).append(row)
    by_image = [groups[image] for image in sorted(groups)]
    warm_up, timed, first = by_image[:2], by_image[2 : 2 + arguments.images], by_image[2 + arguments.images :]
    alone = [questions[0] for questions in first[: arguments.first]]
    ours = with_saved_limits(Path(model), work / f"served-{Path(model).name}")
    figures: dict[str, dict[str, Any]] = {}
    for contender, command, name in (("model-garden", garden, "benchmarked"), ("transformers", transformers, model)):
        port = free_port()
        with running(
            command(ours if contender == "model-garden" else model, port), port, work / f"serve-{contender}.log"
        ) as url:
            ask_all(url, name, warm_up, 2, arguments.tokens)
            seconds, answers = ask_all(url, name, timed, arguments.clients, arguments.tokens)
            figures[contender] = {
                "requests_per_second": round(len(answers) / seconds, 3),
                "first_token_seconds": round(first_token(url, name, alone, arguments.tokens), 4),
                "prompt_tokens": sum(tokens for _text, tokens in answers),
                "answers": [text for text, _tokens in answers],
            }
        shown = {key: value for key, value in figures[contender].items() if key != "answers"}
        print(f"{contender}: {shown}", file=sys.stderr, flush=True)
    answers_alike = sum(
        mine == theirs
        for mine, theirs in zip(
            figures["model-garden"].pop("answers"), figures["transformers"].pop("answers"), strict=True
        )
    )
    figures["generate"] = {"first_token_seconds": round(first_token_of_generate(ours, alone, arguments.tokens), 4)}
    ratio = figures["model-garden"]["requests_per_second"] / figures["transformers"]["requests_per_second"]
    first_ratio = figures["model-garden"]["first_token_seconds"] / figures["generate"]["first_token_seconds"]
    record = {
        **figures,
        "requests_ratio": round(ratio, 2),
        "first_token_ratio_to_generate": round(first_ratio, 2),
        "requests": 5 * arguments.images,
        "answers_alike": answers_alike,
        "clients": arguments.clients,
        "tokens": arguments.tokens,
        "load": os.getloadavg()[0],
    }
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
