"""How the ranks of a run meet, and whether they are about to do the same."""

import os
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.text import first_few, first_line
from mg_tui.engine.layout.partition import World
from mg_tui.engine.run.rank_supervisor import STORE_ENV, STORE_FD_ENV

# The supervisors watch the ranks. A collective must not fail because one of them evaluates for hours.
_NO_TIMEOUT: Final = timedelta(days=30)
_POLL_SECONDS: Final = 0.1
_FOLLOWERS_SECONDS: Final = 30.0  # that others wait longer than rank 0, which says for whom


def join_group(world: World, *, cuda: bool, patience: float) -> None:
    """Meet the other ranks and set up the process group.

    Args:
        world: this process among the others.
        cuda: whether tensors on GPUs are exchanged too.
        patience: seconds to wait for the others.

    Raises:
        EnvironmentProblem: not all of them came in time; says who is missing.
    """
    import torch.distributed as dist

    host, _, port = os.environ[STORE_ENV].rpartition(":")
    listening = os.environ.pop(STORE_FD_ENV, None)
    waits = patience + (0 if world.rank == 0 else _FOLLOWERS_SECONDS)
    try:
        store = dist.TCPStore(
            host,
            int(port),
            world.size,
            is_master=world.rank == 0,
            timeout=timedelta(seconds=waits),
            wait_for_workers=False,
            master_listen_fd=None if listening is None else int(listening),
        )
    except RuntimeError as error:
        raise EnvironmentProblem(
            f"rendezvous: machine 0 does not answer at {host}:{port}",
            why=f"waited {waits:.0f} s; {first_line(error)}",
            hint="start the run on machine 0 too, and see that the port can be reached (firewall, address)",
        ) from error
    _wait_for_all(store, world, waits)
    store.set_timeout(_NO_TIMEOUT)
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    dist.init_process_group(backend, store=store, rank=world.rank, world_size=world.size, timeout=_NO_TIMEOUT)


def _wait_for_all(store: Any, world: World, patience: float) -> None:
    """Wait until every rank has come, or say which have not."""
    store.set(f"came/{world.rank}", b"1")
    deadline = time.monotonic() + patience
    missing = list(range(world.size))
    while missing := [rank for rank in missing if not store.check([f"came/{rank}"])]:
        if time.monotonic() > deadline:
            machines = sorted({rank // world.local_size for rank in missing})
            raise EnvironmentProblem(
                f"rendezvous: machine {first_few(machines, 8)} did not come",
                why=f"waited {patience:.0f} s for training process {first_few(missing, 8)}",
                hint="start the same command there with its --node-rank, or wait longer with --rendezvous-timeout",
            )
        time.sleep(_POLL_SECONDS)


def require_same(facts: Sequence[Mapping[str, Any]]) -> None:
    """Compare what the ranks are about to do.

    Args:
        facts: of each rank: versions, spec, data and so on.

    Raises:
        UsageError: they differ; names the ranks and what differs.
    """
    first = facts[0]
    for rank, other in enumerate(facts):
        differing = sorted(name for name in {*first, *other} if first.get(name) != other.get(name))
        if differing:
            listed = [f"{name}: {first.get(name)!r:.60} and {other.get(name)!r:.60}" for name in differing]
            raise UsageError(
                f"training processes 0 and {rank} are not about to do the same",
                why=first_few(listed, 5),
                hint="start the same command with the same version of the program and the same data on each machine",
            )
