"""What a checkpoint holds of the model, and who writes checkpoints.

Only what is trained is kept: an adapter as PEFT saves it (so a checkpoint's folder can be used like a result), or, for
training in full, the trained weights under their own names. Both are kept in float32 as they are trained.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.engine.checkpointing import writer
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter

TRAINED_WEIGHTS_FILE: Final = "trained.safetensors"


def save_trained_weights(model: Any, folder: Path) -> None:
    """Save the trained weights of a model into a folder."""
    from peft import PeftModel

    if isinstance(model, PeftModel):
        model.save_pretrained(folder, selected_adapters=["default"], save_embedding_layers=False)
        return
    from safetensors.torch import save_file

    weights = {n: p.detach().cpu().contiguous() for n, p in model.named_parameters() if p.requires_grad}
    save_file(weights, folder / TRAINED_WEIGHTS_FILE, metadata={"format": "pt"})


def load_trained_weights(model: Any, folder: Path) -> None:
    """Put the trained weights of a checkpoint into a model that was prepared in the same way.

    Raises:
        EnvironmentProblem: the checkpoint is not of this model.
    """
    from peft import PeftModel
    from safetensors.torch import load_file

    if isinstance(model, PeftModel):
        from peft import set_peft_model_state_dict

        weights = load_file(folder / "adapter_model.safetensors")
        outcome = set_peft_model_state_dict(model, weights)
        missing = [name for name in outcome.missing_keys if ".lora_" in name or ".modules_to_save." in name]
        surplus = list(outcome.unexpected_keys)
    else:
        weights = load_file(folder / TRAINED_WEIGHTS_FILE)
        own = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        missing, surplus = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
        with torch.no_grad():
            for name in own.keys() & weights.keys():
                own[name].copy_(weights[name])
    if missing or surplus:
        raise EnvironmentProblem(
            "the checkpoint does not fit the model",
            where=str(folder),
            why=f"{len(missing)} weights are missing and {len(surplus)} are not the model's, e.g. "
            f"{(missing + surplus)[0]}",
            hint="was the base model changed, or the run started with another version of a library?",
        )


class CheckpointStore:
    """Writes a run's checkpoints, says so in the journal, and removes those beyond the limit.

    With `keep_best`, `best` is the checkpoint with the lowest evaluation loss, and retention leaves it. The loss is
    kept in the checkpoint itself, so that whoever goes on with the run knows it.
    """

    def __init__(
        self,
        folder: RunFolder,
        journal: JournalWriter,
        *,
        keep: int,
        about: dict[str, Any],
        needed: int,
        keep_best: bool = False,
    ):
        self.folder = folder
        self.best = writer.best_valid(folder.checkpoints_dir) if keep_best else None
        self.last_step: int | None = None
        self._keep_best = keep_best
        self._evaluated: tuple[int, float] | None = None
        self._journal = journal
        self._keep = keep
        self._about = about
        self._expected_bytes = needed

    def record_evaluation(self, step: int, loss: float) -> bool:
        """Take note of an evaluation; returns whether a checkpoint of this step would be the best."""
        self._evaluated = (step, loss)
        return self._keep_best and math.isfinite(loss) and (self.best is None or loss < self.best.eval_loss)

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Make the checkpoint of `step`, unless it is there already; `write` fills the folder it is given.

        Raises:
            EnvironmentProblem: there is no room.
        """
        if step == self.last_step:
            return
        started = time.perf_counter()
        loss = self._evaluated[1] if self._evaluated is not None and self._evaluated[0] == step else None
        is_best = loss is not None and self.record_evaluation(step, loss)
        # JSON has no NaN, and a loss that is none says nothing about a checkpoint.
        said = {} if loss is None or not math.isfinite(loss) else {"eval_loss": loss}
        about = {**self._about, **said}
        with writer.write_checkpoint(self.folder.checkpoints_dir, step, about, needed=self._expected_bytes) as (
            path,
            done,
        ):
            write(path)
        written = done[0]
        self.last_step, self._expected_bytes = step, written.bytes
        if is_best and loss is not None:
            self.best = writer.BestCheckpoint(written.path, step, loss)
        self._journal.write(
            "checkpoint",
            step=step,
            path=written.path.relative_to(self.folder.path).as_posix(),
            bytes=written.bytes,
            seconds=round(time.perf_counter() - started, 3),
            **said,
            **({"best": True} if is_best else {}),
        )
        best = self.best.path if self.best is not None else None
        for removed in writer.prune(self.folder.checkpoints_dir, self._keep, best=best):
            self._journal.write(
                "checkpoint_removed",
                step=writer.step_of(removed),
                path=removed.relative_to(self.folder.path).as_posix(),
                why=f"the newest {self._keep} are kept" + (", and the best" if best is not None else ""),
            )


def expected_checkpoint_bytes(model: Any) -> int:
    """What a checkpoint will take: trained weights in float32 and the optimizer's two moments."""
    return 12 * sum(int(parameter.numel()) for parameter in model.parameters() if parameter.requires_grad)
