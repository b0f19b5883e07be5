"""A job from its spec to its result."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mg_tui.core.model_job_spec import ExportSpec, MergeSpec, ModelJobSpec, PushSpec, VerifySpec
from mg_tui.engine.inference.channel import ProgressChannel
from mg_tui.engine.model_jobs.journal_channel import JournalChannel
from mg_tui.engine.monitoring.stopping import StopHandler
from mg_tui.runs import recents
from mg_tui.runs.caller_bounds import read_caller_bounds
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.model_jobs import ModelJobFolder

Operation = Callable[[dict[str, Any]], None]


class ModelJob:
    """One job, once."""

    def __init__(
        self,
        folder: ModelJobFolder,
        journal: JournalWriter,
        stopper: StopHandler,
        *,
        cwd: Path,
        home: Path,
        cache: Path,
    ):
        self.folder = folder
        self._channel = JournalChannel(journal, stopper)
        self._stopper = stopper
        self._cwd, self._home, self._cache = cwd, home, cache

    def describe_stop(self) -> dict[str, Any]:
        """Nothing is left of a job that was stopped."""
        return {}

    def run(self) -> dict[str, Any]:
        """Do it; returns what the journal's last event says: the reply, which its command prints as JSON.

        Raises:
            GardenError: what is wrong, for a person.
            StopRequested: somebody asked it to stop; what was written in part is removed.
        """
        spec = self.folder.read_job_spec()
        with self._stopper.interruptible():
            start = find_operation(spec, self._channel)
            start(self._request(spec))
        reply = self._channel.reply
        assert reply is not None  # an operation that returns has replied
        if "output" in reply and reply.get("format") != "gguf":  # so that it is listed wherever it is
            recents.remember(self._home, "models", str(reply["output"]))
        return {"reply": reply}

    def _request(self, spec: ModelJobSpec) -> dict[str, Any]:
        """The operation's request: the spec, and where things are."""
        values = spec.model_dump(mode="json", exclude={"operation", "name"})
        places = {"home": str(self._home), "cache": str(self._cache), "cwd": str(self._cwd)}
        bounds = read_caller_bounds(self.folder.path)
        match spec:
            case MergeSpec():
                return {**values, "home": places["home"]}
            case PushSpec():
                return {**values, "home": places["home"], "cache": places["cache"]}
            case VerifySpec():
                values |= {"name": spec.name, "min_agreement": spec.required_agreement}
            case ExportSpec(format="gguf"):
                kinds = values.pop("quantization")
                del values["merged"], values["format"]
                values |= {"quantizations": kinds} if kinds else {}
                values["min_agreement"] = spec.required_agreement
            case ExportSpec():
                del values["quantization"], values["adapter"]
                values["min_agreement"] = spec.required_agreement
        return {**values, **places, "bounds": bounds}


def find_operation(spec: ModelJobSpec, channel: ProgressChannel) -> Operation:
    """What does what a spec asks for, with its libraries loaded."""
    match spec:
        case MergeSpec():
            from mg_tui.engine.results.merge import Merger

            return Merger(channel).merge
        case PushSpec():
            from mg_tui.engine.results.push import Pusher

            return Pusher(channel).push
        case VerifySpec():
            from mg_tui.engine.export.verify import Verifier

            return Verifier(channel).verify
        case ExportSpec(format="gguf"):
            from mg_tui.engine.export.gguf.export import GgufExporter

            return GgufExporter(channel).export
    from mg_tui.engine.export.export import Exporter

    return Exporter(channel).export
