"""What scoring costs: seconds of each metric over the same rows, of intervals, and ANLS* beside its package.

    uv run python benchmarks/metrics.py            # 2,000 rows
    uv run python benchmarks/metrics.py --rows 500

Times are the best of three. Answers are made at random with a fixed seed.
"""

import argparse
import copy
import json
import random
import time
from collections.abc import Callable

from anls_star import anls_score

from mg_tui.metrics import Prediction
from mg_tui.metrics.anls_star import anls_star
from mg_tui.metrics.registry import BUILT_IN
from mg_tui.metrics.scoring import score
from mg_tui.metrics.uncertainty import compare, intervals

WORDS = "a the red blue cat dog sits runs on under table park 3 of 1,000 invoice total date".split()


def best(run: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return min(times)


def sentence(chance: random.Random) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(chance.randint(5, 25)))


def invoice(lines: int) -> dict[str, object]:
    items = [{"name": f"Part {n} blue large", "quantity": n % 7, "price": f"{n * 3.17:.2f}"} for n in range(lines)]
    return {"number": "2024-17", "seller": "Example and Sons", "date": "2024-01-02", "items": items}


def reference(kind: str, chance: random.Random) -> str:
    if kind == "json":
        return json.dumps(invoice(chance.randint(1, 8)))
    if kind == "count":
        return str(chance.randint(0, 20))
    if kind == "boxes":
        return json.dumps([chance.randint(0, 500) for _ in range(4)])
    return chance.choice(WORDS) if kind == "label" else sentence(chance)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    count = parser.parse_args().rows
    chance = random.Random(1)
    for metric in BUILT_IN:
        rows = []
        for number in range(1, count + 1):
            right = reference(metric.reference, chance)
            answer = right if chance.random() < 0.5 else reference(metric.reference, chance)
            rows.append(Prediction(number, answer, (right,) * metric.minimum_references, (f"{number}.png",)))
        done = score(rows, metric)
        seconds = best(lambda metric=metric, rows=rows: score(rows, metric))  # type: ignore[misc]
        spans = best(lambda done=done: intervals([done]))  # type: ignore[misc]
        print(f"{metric.name:24} {seconds:7.3f} s for {count:,} rows; interval {spans:6.3f} s")
    print(f"{'paired comparison':24} {best(lambda: compare(done, done)):7.3f} s")
    for lines in (10, 40):
        right_one = invoice(lines)
        given = copy.deepcopy(right_one)
        random.Random(2).shuffle(given["items"])  # type: ignore[arg-type]
        ours, theirs = best(lambda: anls_star(given, (right_one,))), best(lambda: anls_score(right_one, given))  # noqa: B023
        print(f"ANLS* of {lines} lines: {ours:.4f} s; anls-star {theirs:.4f} s, {theirs / ours:.0f} times")


if __name__ == "__main__":
    main()
