"""Training, side by side with the peers: `uv run python benchmarks/train.py`. See README.md in this folder."""

import argparse
import itertools
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import docs_page
from harness.environments import Environment, InstallFailed, current_environment, make_environment
from harness.family_models import MODELS, BenchmarkModel
from harness.measurement import Measurement, Purpose, from_journal, from_probe
from harness.process import run_process
from harness.row_order import ordered_rows
from harness.synthetic_data import KINDS, DataKind, make_rows
from harness.tables import losses_table, targets_table
from peers import PEERS, Job, Ours, Peer
from peers.base import SEED

DEFAULT_PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
MEMORY_STEPS = 15
TIMEOUT_SECONDS = 1800.0  # seconds for one process


@dataclass
class Benchmark:
    """The runs of one call, and where their results lie."""

    options: argparse.Namespace
    results: Path
    cores: Sequence[int]
    model: BenchmarkModel
    environments: dict[str, Environment] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    measured: list[Measurement] = field(default_factory=list)

    def prepare_peers(self) -> list[Peer]:
        """Ours, and the peers that can be run, each in an environment that is ready."""
        self.environments["ours"] = current_environment()
        result: list[Peer] = [Ours(tuple(self.options.ours))]
        for key in self.options.peers:
            try:
                log_line(f"{PEERS[key].title}: environment")
                self.environments[key] = make_environment(PEERS[key], self.options.work / "envs")
                result.append(PEERS[key])
            except InstallFailed as error:
                self.problems[key] = str(error)
                log_line(f"{PEERS[key].title} is left out: {error}")
        return result

    def measure(self, peer: Peer, kind: DataKind, batch: int, purpose: Purpose, repeat: int) -> Measurement | None:
        """Do one run in a folder of its own; None, with the reason said, when it failed."""
        ours, steps = peer.key == "ours", self.options.steps if purpose == "speed" else MEMORY_STEPS
        name = f"{purpose}-{kind.key}-{peer.key}-{batch}-{repeat}"
        folder = self.options.work / "runs" / self.model.key / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        rows = make_rows(self.options.work / "data" / f"{kind.key}-{self.options.steps}", kind, self.options.steps)
        job = Job(
            model=self.options.work / "models" / self.model.folder,
            family=self.model,
            rows=rows,
            ordered_rows=() if ours else ordered_rows(rows, kind, steps, SEED),
            steps=steps,
            epochs=self.options.epochs,
            batch=batch,
            accumulation_steps=kind.per_step // batch,
            checkpointing=False if purpose == "speed" else None,
            folder=folder,
        )
        environment = {**_cache_environment(self.options.work), **peer.environment(job)}
        if self.options.passive:
            environment["OMP_WAIT_POLICY"] = "PASSIVE"
        out, log = folder / "probe.json", folder / "log"
        command = peer.command(job, self.environments[peer.key].programs)
        ran = run_process(command, environment, out=out, log=log, cores=self.cores, limit=TIMEOUT_SECONDS)
        if not out.exists():
            last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-1:]
            self.problems[peer.key] = f"{name} ended with {ran.code}: {' '.join(last)[:200]} (see {log})"
            log_line(self.problems[peer.key])
            return None
        about: dict[str, Any] = {
            "peer": peer.key,
            "kind": kind.key,
            "purpose": purpose,
            "batch": batch,
            "accumulate": job.accumulation_steps,
            "repeat": repeat,
            "steps_per_epoch": self.options.steps,
        }
        record = json.loads(out.read_text())
        if ours:
            journal = next((folder / "garden" / "home" / "runs").glob("*/events.jsonl"))
            measured = from_journal(record, journal, ran, **about)
        else:
            measured = from_probe(record, ran, **about)
        measured.save(self.results / f"{name}.json")
        self.measured.append(measured)
        log_line(_summary_line(name, measured))
        return measured

    def run_speed(self, contenders: Sequence[Peer], kinds: Sequence[DataKind]) -> Iterator[None]:
        """Timed runs, interleaved: every contender once on every kind of data, then all of it again."""
        for repeat in range(self.options.repeats):
            for kind in kinds:
                for peer in contenders:
                    for batch in self._batch_sizes(peer, kind, repeat):
                        self.measure(peer, kind, batch, "speed", repeat)
                        yield

    def run_memory(self, contenders: Sequence[Peer], kinds: Sequence[DataKind]) -> Iterator[None]:
        """A few steps of everyone with checkpointing as they have it, one row a forward pass where that is a choice."""
        for kind in kinds:
            for peer in contenders:
                self.measure(peer, kind, 1, "memory", 0)
                yield

    def _batch_sizes(self, peer: Peer, kind: DataKind, repeat: int) -> list[int]:
        """Rows of a forward pass to be tried; when all were tried, the best one. Ours packs whatever is asked."""
        possible = [batch for batch in self.options.batches if kind.per_step % batch == 0]
        if peer.key == "ours":
            return possible[:1]
        tried = [
            (rate, item.batch)
            for item in self.measured
            if (item.peer, item.kind, item.purpose) == (peer.key, kind.key, "speed")
            and (rate := item.rate(item.first_epoch())) is not None
        ]
        return [max(tried)[1]] if repeat and tried else possible


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what was asked for, print the table, write the page."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what is running is ended on the way out
    options.work = options.work.absolute()
    model = MODELS[options.model]
    for name in ("only", "what", "batches"):
        setattr(options, name, getattr(options, name) or getattr(model, "kinds" if name == "only" else name))
    cores = sorted(os.sched_getaffinity(0))[: options.cores]
    os.sched_setaffinity(0, cores)
    results = options.work / "results" / (options.session or time.strftime(f"%Y%m%d-%H%M%S-{model.key}"))
    results.mkdir(parents=True, exist_ok=True)
    bench = Benchmark(options, results, cores, model)
    bench.measured = [Measurement.load(path) for path in sorted(results.glob("*-*.json"))]
    if not options.report_only:
        model.make(options.work / "models" / model.folder)
        contenders = bench.prepare_peers()
        _save_versions(bench)
        kinds = [kind for kind in KINDS.values() if kind.key in options.only]
        plans = {"speed": bench.run_speed, "memory": bench.run_memory}
        began = time.monotonic()
        for _done in itertools.chain.from_iterable(plans[name](contenders, kinds) for name in options.what):
            if options.minutes and time.monotonic() - began > 60 * options.minutes:
                log_line(f"{options.minutes:g} minutes are over: what was measured is kept in {results}")
                break
        bench.measured = [Measurement.load(path) for path in sorted(results.glob("*-*.json"))]
        _save_versions(bench)
    titles = {"ours": Ours.title, **{key: peer.title for key, peer in PEERS.items()}}
    versions, problems = _load_versions(results)
    print(targets_table(bench.measured, titles, model))
    print(losses_table(bench.measured, titles))
    if bench.measured and options.page:
        text = docs_page.format_page(bench.measured, titles, versions, problems, len(cores), model)
        docs_page.write_page(options.page, text, model)
        log_line(f"written: {options.page}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="qwen2_5_vl", choices=list(MODELS), help="family of the random model")
    parser.add_argument("--peers", nargs="*", default=["swift", "trl", "lf"], choices=list(PEERS), metavar="PEER")
    parser.add_argument("--only", nargs="+", choices=list(KINDS), metavar="DATA")
    parser.add_argument("--what", nargs="+", choices=["speed", "memory"])
    parser.add_argument("--steps", type=int, default=8, help="optimizer steps of an epoch, and of a peer's run")
    parser.add_argument("--epochs", type=int, default=3, help="of our run: the first, and those with kept features")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", help="rows of a forward pass, for peers")
    parser.add_argument("--ours", nargs="*", default=[], help="more options of ours, e.g. --ours=--workers=1")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--passive", action="store_true", help="threads of peers wait without spinning, as ours do")
    parser.add_argument("--minutes", type=float, help="begin no further run after this time")
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "model-garden-benchmarks")
    parser.add_argument("--session", help="add to the results of this name")
    parser.add_argument("--report-only", action="store_true", help="measure nothing: report what --session has")
    parser.add_argument("--page", type=Path, default=DEFAULT_PAGE, help="where the tables are written")
    parser.add_argument("--no-page", dest="page", action="store_const", const=None)
    return parser


def _cache_environment(work: Path) -> dict[str, str]:
    return {"HF_HOME": str(work / "hf"), "MODELSCOPE_CACHE": str(work / "modelscope")}


def _save_versions(bench: Benchmark) -> None:
    versions, problems = _load_versions(bench.results)
    versions |= {key: environment.versions for key, environment in bench.environments.items()}
    (bench.results / "about.json").write_text(
        json.dumps({"versions": versions, "problems": {**problems, **bench.problems}})
    )


def _load_versions(results: Path) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    about = results / "about.json"
    result = json.loads(about.read_text()) if about.exists() else {}
    return result.get("versions", {}), result.get("problems", {})


def _summary_line(name: str, measured: Measurement) -> str:
    first, later = measured.rate(measured.first_epoch()), measured.rate(measured.later_epochs())
    rates = ", ".join(f"{rate:.2f}" for rate in (first, later) if rate is not None)
    return (
        f"{name}: {rates} samples/s, {measured.above_mib:,.0f} MiB above the model, first step after "
        f"{measured.first_begun:.1f} s, done after {measured.first_done:.1f} s, others {measured.others:.0%}, "
        f"losses {' '.join(f'{loss:.4f}' for loss in measured.losses[:4])}"
    )


def log_line(text: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
