"""The live checks of the conformance kit, in order, and why one does not apply to a family."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mg_tui.core.text import first_line
from mg_tui.engine.conformance import equivalence, inputs, training
from mg_tui.engine.conformance.fixture import LiveFixture
from mg_tui.families.contract import CapabilityName, Unsupported
from mg_tui.families.family import ModelFamily

Check = Callable[[LiveFixture], Iterator[str]]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A check of a family: its name; ok, failed, or not applicable; findings, or why it does not apply."""

    name: str
    status: Literal["ok", "failed", "not applicable"]
    findings: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether something is wrong."""
        return self.status == "failed"


# Each check with the capability that it is about; None for what every family has to do.
LIVE_CHECKS: Final[tuple[tuple[Check, CapabilityName | None], ...]] = (
    (inputs.image_tokens_of_many_sizes, None),
    (inputs.any_number_of_images, None),
    (equivalence.padded_equals_alone, None),
    (equivalence.packed_equals_alone, "packing"),
    (equivalence.shared_prefixes_equal_alone, "shared_prefixes"),
    (equivalence.kept_features_equal_encoded, "kept_features"),
    (equivalence.checkpointing_changes_nothing, None),
    (equivalence.generation_equals_alone, "batched_generation"),
    (training.one_step_changes_only_what_should, None),
    (training.saved_adapter_reloads, "lora_language"),
    (training.estimate_counts_parameters, None),
)


def run_live_checks(family: ModelFamily, folder: Path, work: Path, names: tuple[str, ...] = ()) -> list[CheckResult]:
    """Run the checks (all, or those of `names`) on a checkpoint; `work` is an empty folder."""
    bench = LiveFixture(family, folder, work)
    return [
        run_check(bench, check, capability) for check, capability in LIVE_CHECKS if not names or check.__name__ in names
    ]


def run_check(bench: LiveFixture, check: Check, capability: CapabilityName | None) -> CheckResult:
    """One check; an exception is a finding, as a check must not end the others."""
    name = check.__name__.replace("_", " ")
    declared = bench.family.capability(capability) if capability is not None else None
    if isinstance(declared, Unsupported):
        return CheckResult(name, "not applicable", (declared.why,))
    try:
        findings = tuple(check(bench))
    except Exception as error:
        findings = (f"raises {type(error).__name__}: {first_line(error)}",)
    return CheckResult(name, "failed" if findings else "ok", findings)
