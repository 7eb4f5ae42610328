"""Read the epochs from a version's report, the only one of its files that holds them."""

from __future__ import annotations

from pathlib import Path

REPORT = "report/report.md"
FIELDS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "precision", "recall", "f1", "auroc")
"""Columns of the table after the epoch's number; its last one, the seconds, is of the machine."""
HEAD = "| Epoch | Train loss |"
ROUNDED = 0.5e-4 + 1e-12
"""Largest difference of a number from the four decimals that the report shows of it."""


def reported_epochs(path: Path) -> dict[str, float]:
    """Return the metrics of the last epoch, and which was the best one, by MLflow's names.

    Empty where there is no report, or it shows no epochs.

    Args:
        path: of the report.
    """
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next((at for at, line in enumerate(lines) if line.startswith(HEAD)), len(lines))
    found: dict[str, float] = {}
    for line in lines[start + 2 :]:
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        try:
            numbers = [float(cell.strip("*")) for cell in cells[: len(FIELDS) + 1]]
        except ValueError:
            break  # the end of the table
        if len(numbers) <= len(FIELDS):
            break
        found |= dict(zip(("epoch", *FIELDS), numbers, strict=True))
        if cells[0].startswith("**"):
            found |= {"best_epoch": numbers[0], "best_epoch_val_accuracy": found["val_accuracy"]}
    return found
