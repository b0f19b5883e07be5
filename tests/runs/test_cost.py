"""Energy, GPU time and money of a run, as faces show them."""

from mg_tui.core.events import Event
from mg_tui.runs.cost import Cost, compute_cost
from mg_tui.runs.current_step import CurrentStep, CurrentStepWriter, read_current_step
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.view import RunView


def test_both_prices_are_added() -> None:
    found = compute_cost(7_200_000, 5400, {"per_kwh": 0.25, "per_gpu_hour": 2.0, "currency": "$"})
    assert found == Cost(2.0, 1.5, 3.5, "$")
    assert found.summary == "2 kWh, 1.50 GPU hours, 3.50 $"
    assert found.as_dict() == {"energy_kwh": 2.0, "gpu_hours": 1.5, "cost": 3.5, "currency": "$"}


def test_no_price_is_no_money_and_no_gpu_is_nothing() -> None:
    assert compute_cost(3_600_000, 3600, {}).summary == "1 kWh, 1.00 GPU hours"
    assert compute_cost(None, None, {"per_kwh": 0.3}).summary is None
    assert compute_cost(None, 3600, {"per_kwh": 0.3}).money is None, "half of an amount is a wrong one"
    assert compute_cost(None, 3600, {"per_gpu_hour": 3}).summary == "1.00 GPU hours, 3.00 EUR"


def test_the_newest_event_has_what_the_whole_run_used() -> None:
    view = RunView()
    view.apply([Event(1, 1.0, "started", {"attempt": 1}), Event(2, 2.0, "step", {"step": 1})])
    assert (view.energy_j, view.gpu_seconds) == (None, None)
    view.apply([Event(3, 3.0, "step", {"step": 2, "energy_j": 50.0, "gpu_seconds": 2.0})])
    view.apply([Event(4, 4.0, "started", {"attempt": 2, "resumed_from": 0}), Event(5, 5.0, "step", {"step": 1})])
    assert (view.energy_j, view.gpu_seconds) == (50.0, 2.0), "what was done again was paid for"
    view.apply([Event(6, 6.0, "finished", {"steps": 1, "energy_j": 80.0, "gpu_seconds": 3.0})])
    assert (view.energy_j, view.gpu_seconds) == (80.0, 3.0)


def test_the_step_under_way_is_noted_over_and_over(folder: RunFolder) -> None:
    assert read_current_step(folder) is None
    note = CurrentStepWriter(folder)
    note.write(7, [3, 14], ["cats/long-name.png"])
    note.write(8, [1], [])
    assert read_current_step(folder) == CurrentStep(8, (1,))
    note.write(9, list(range(500)), ["a.png", "b.png"])
    found = read_current_step(folder)
    assert found is not None and found.images == ("a.png", "b.png") and len(found.rows) == 64
    note.close()
    (folder.path / "step.json").write_text("{")
    assert read_current_step(folder) is None
