"""What a study has done and has to do, as text and as JSON."""

from pathlib import Path

from fastpt.report import StepCost
from fastpt.study.grid import StudyGrid


def steps_table(grid: StudyGrid) -> list[StepCost]:
    """A row a step; what is to do has the cost that is expected, or None."""
    rows, expected = [], grid.usual_costs()
    for step in (step for cell in grid.cells for step in cell.steps):
        state = grid.state(step)
        cost = grid.record(step) if state == "done" else expected.get((step.kind, step.group), {})
        rows.append(StepCost(step.name, step.kind, cost.get("seconds"), cost.get("bytes"), state))
    return rows


def text_table(rows: list[StepCost], folder: Path) -> str:
    """The rows as aligned text, with totals of what is done and what is to do."""
    width = max(len(row.step) for row in rows)
    lines = [
        f"{row.kind:5}  {row.step:{width}}  {row.state:6}  {_cost(row.seconds, row.bytes, row.state)}" for row in rows
    ]
    for done in (True, False):
        chosen = [row for row in rows if (row.state == "done") == done]
        if chosen:
            words = "done" if done else "to do"
            lines.append(f"{len(chosen)} of {len(rows)} steps {words}: {_total(chosen, words)}")
    return "\n".join([*lines, f"in {folder}"])


def _total(rows: list[StepCost], state: str) -> str:
    known = [row for row in rows if row.seconds is not None]
    if not known:
        return "not yet timed here"
    total = _cost(sum(row.seconds or 0 for row in known), sum(row.bytes or 0 for row in known), state)
    unknown = len(rows) - len(known)
    return total + (f", and {unknown} of a kind not yet timed here" if unknown else "")


def _cost(seconds: float | None, size: float | None, state: str) -> str:
    if seconds is None or size is None:
        return "not yet timed"
    hours, rest = divmod(round(seconds), 3600)
    about = "" if state == "done" else "about "
    return f"{about}{hours}:{rest // 60:02}:{rest % 60:02} h, {size / 1e6:,.0f} MB"
