"""ms-swift's `infer` of rows in batches; runs in ms-swift's environment and prints one JSON line of measurements."""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from harness.peak_memory import PeakMemory
from harness.synthetic_data import read_rows

WARM_UP_ROWS = 4


def main() -> None:
    """Answer the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--model", "--file", "--warm-up"):
        parser.add_argument(name, type=Path, required=True)
    for name in ("--rows", "--tokens", "--batches"):
        parser.add_argument(name, type=int, required=True)
    options = parser.parse_args()

    import torch
    from swift.infer_engine import InferRequest, RequestConfig, TransformersEngine

    engine = TransformersEngine(
        str(options.model),
        max_batch_size=options.batches,
        torch_dtype=torch.float32,
        model_type="qwen2_5_vl",
        attn_impl="sdpa",
        device_map="cpu",
        template_type="qwen2_5_vl",
    )

    def answer(file: Path, count: int, tokens: int) -> list[str]:
        """Rows of an image are asked one after the other, so that batches are of similar length."""
        rows = read_rows(file)[:count]
        order = sorted(range(len(rows)), key=lambda index: (rows[index].image, index))
        requests = [
            InferRequest(
                messages=[{"role": "user", "content": f"<image>{rows[index].text}"}], images=[rows[index].image]
            )
            for index in order
        ]
        responses = engine.infer(requests, RequestConfig(max_tokens=tokens, temperature=0), use_tqdm=False)
        texts = {index: response.choices[0].message.content for index, response in zip(order, responses, strict=True)}
        return [texts[index] for index in range(len(rows))]

    answer(options.warm_up, WARM_UP_ROWS, 4)
    with PeakMemory() as memory:
        began, cpu_began = time.perf_counter(), time.process_time()
        answers = answer(options.file, options.rows, options.tokens)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    print(json.dumps({"seconds": seconds, "cpu": cpu, "mib": memory.mib, "answers": answers}))


if __name__ == "__main__":
    main()
