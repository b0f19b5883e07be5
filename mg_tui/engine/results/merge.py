"""`python -m mg_tui.engine.results.merge`: an adapter merged into its base, saved, loaded again, compared.

    {"op": "merge", "model": "...", "output": "...", "home": "...", "base_model", "dtype", "device"}
        -> notice, progress {"what", "done", "total"}, ..., merged

Weights are merged in full precision: into a quantised base the adapter would be rounded away. What was saved is what is
compared, and a result that does not answer like the adapter is not kept. A merge that is terminated leaves nothing.
"""

import gc
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field

from mg_tui.core.errors import EnvironmentProblem, FamilyError, RunFailed, UsageError
from mg_tui.core.paths import expanded
from mg_tui.engine.answers.channel import Channel, leave, serve
from mg_tui.engine.answers.contract_file import FILE_NAME, Contract, DType
from mg_tui.engine.answers.generate import parse, quieten
from mg_tui.engine.answers.inference import Loaded, load, memory_errors
from mg_tui.engine.answers.locate import Located, locate
from mg_tui.engine.results.compare import Comparison, answer_logits, compare, draw_samples, with_answers
from mg_tui.engine.results.publish import publish, require_new
from mg_tui.engine.results.result import finish_folder, save_whole
from mg_tui.families.contract import LoadRequest, Unsupported
from mg_tui.families.registry import load_registry
from mg_tui.runs.launch import versions

_PHASES: Final = 5


class MergeRequest(BaseModel):
    """What is merged, and where the result goes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(min_length=1)]
    output: Path
    home: Path
    base_model: str | None = None
    dtype: DType | Literal["auto"] = "auto"
    device: Literal["auto", "cuda", "cpu"] = "cpu"


class Merger:
    """Does one merge after another; nothing is kept between them."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def merge(self, values: dict[str, Any]) -> None:
        """Merge, compare, publish; replies `merged` with where it is and how far it is from the adapter."""
        request = parse(MergeRequest, values)
        began = time.monotonic()
        target = expanded(request.output).resolve()
        require_new(target)
        registry = load_registry()
        located = locate(request.model, home=request.home, registry=registry, base_model=request.base_model)
        require_mergeable(located)
        for note in located.notes:
            self._channel.notice(note)
        quieten()
        dtype = located.contract.dtype if request.dtype == "auto" else request.dtype
        with memory_errors("merging"):
            self._at(0, f"loading {located.base.name} in {dtype}")
            loaded = load(located, registry, device=request.device, dtype=dtype, quantization="none")
            compared = self._merge(loaded, target)
        self._channel.send(
            "merged",
            output=str(target),
            model=located.shown,
            base_model=located.base.name,
            dtype=dtype,
            comparison=compared.as_dict(),
            seconds=round(time.monotonic() - began, 2),
        )

    def _at(self, done: int, what: str) -> None:
        self._channel.notice(what)
        self._channel.send("progress", what=what, done=done, total=_PHASES)

    def _merge(self, loaded: Loaded, target: Path) -> Comparison:
        from mg_tui.engine.answers.answer import make_encoder

        capability = loaded.family.capability("merge")
        if isinstance(capability, Unsupported):
            raise FamilyError(f"{loaded.family.title} cannot be merged", why=capability.why)
        encoder = make_encoder(loaded.family, loaded.processor, loaded.contract.preprocessing)
        self._at(1, "answering with the adapter")
        samples = with_answers(draw_samples(), loaded.model, encoder)
        adapter = answer_logits(samples, loaded.model, encoder)
        with loaded.model.disable_adapter():
            base = answer_logits(samples, loaded.model, encoder)
        self._at(2, "merging")
        whole = merge_weights(loaded.model)
        require_space(whole, target)
        processor, family, contract = loaded.processor, loaded.family, merged_contract(loaded)
        attention = whole.config._attn_implementation or "sdpa"
        with publish(target, tag=f"merge-{os.getpid()}", last=FILE_NAME) as staging:
            self._at(3, "saving")
            save_whole(whole, staging)
            # One model in memory at a time: the merged one goes before it is loaded again.
            whole.to("meta")
            del whole
            gc.collect()
            self._at(4, "loading what was saved, and comparing")
            request = LoadRequest(str(staging), loaded.dtype, loaded.device, attention=attention)
            saved = family.load_model(family, request)
            compared = compare(adapter, answer_logits(samples, saved, encoder), base, loaded.dtype)
            if not compared.agrees:
                raise disagreement(compared)
            contract = contract.model_copy(update={"merge": compared.as_dict()})
            finish_folder(staging, processor, contract, family=family, target=target)
        return compared


def require_mergeable(located: Located) -> None:
    """Refuse what is no adapter.

    Raises:
        UsageError: it is a whole model.
    """
    if not located.is_adapter:
        raise UsageError(
            "there is nothing to merge",
            where=str(located.folder or located.base.name),
            why="this is a whole model, not an adapter",
        )


def merge_weights(model: Any) -> Any:
    """Merge the adapter into its base and take PEFT away; returns the plain model.

    Raises:
        RunFailed: merging makes weights that are no numbers.
        UsageError: this kind of adapter cannot be merged.
    """
    untie_adapted(model)
    try:
        whole = model.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise RunFailed("merging makes weights that are no numbers (NaN)", why=str(error)) from error
    except (NotImplementedError, AttributeError, TypeError) as error:
        raise UsageError("this kind of adapter cannot be merged", why=str(error)) from error
    first, last = whole.get_input_embeddings(), whole.get_output_embeddings()
    if last is not None and first.weight.data_ptr() != last.weight.data_ptr():
        _say_untied(whole)
    return whole


def untie_adapted(model: Any) -> None:
    """Give the output layer weights of its own where it shares them with the embedding and one of them is adapted.

    Merging changes weights in place: shared ones would change in both places, though the adapter changed only one.
    """
    from torch import nn

    inner = model.get_base_model()
    first, last = inner.get_input_embeddings(), inner.get_output_embeddings()
    if last is None:
        return
    layers = [getattr(layer, "base_layer", layer) for layer in (first, last)]
    adapted = layers[0] is not first or layers[1] is not last
    if adapted and layers[0].weight.data_ptr() == layers[1].weight.data_ptr():
        layers[1].weight = nn.Parameter(layers[1].weight.detach().clone(), requires_grad=False)


def _say_untied(model: Any) -> None:
    for config in (model.config, getattr(model.config, "text_config", None)):
        if config is not None and getattr(config, "tie_word_embeddings", None):
            config.tie_word_embeddings = False


def require_space(model: Any, target: Path) -> None:
    """See that the weights fit on the disk.

    Raises:
        EnvironmentProblem: they do not.
    """
    needed = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    place = next(path for path in (target, *target.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < needed * 1.02 + 64 * 2**20:
        raise EnvironmentProblem(
            "there is no room for the merged model",
            where=str(place),
            why=f"it takes {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free",
            hint="free space, or choose a folder on another disk with --output",
        )


def merged_contract(loaded: Loaded) -> Contract:
    """The adapter's contract as that of the merged model."""
    base, contract = loaded.located.base, loaded.contract
    ref = contract.base.model_copy(
        update={"name": base.name, "path": base.source if base.local else None, "revision": loaded.located.revision}
    )
    update = {
        "kind": "merged",
        "family": loaded.family.key,
        "model_type": contract.model_type or str(loaded.model.config.model_type),
        "base": ref,
        "dtype": loaded.dtype,
        "quantization": "none",
        "versions": versions(),
    }
    return contract.model_copy(update=update)


def disagreement(compared: Comparison) -> RunFailed:
    """The error for a merge that lost the adapter."""
    return RunFailed(
        "the merged model does not answer like the adapter, and was not kept",
        why=f"logits differ by {compared.mean_difference:.3g} on average (at most {compared.limit:.3g} is rounding), "
        f"{compared.max_difference:.3g} at most; the best token is the same at {compared.top1_agreement:.1%} of "
        f"{compared.positions} positions",
        hint="try --dtype float32; if that does not help, keep using the adapter",
    )


def main() -> NoReturn:
    """Serve requests on standard input until it closes."""
    # As an exception, so that what was half written is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    channel = Channel.on_stdio()
    serve(channel, {"merge": Merger(channel).merge})
    leave()


if __name__ == "__main__":
    main()
