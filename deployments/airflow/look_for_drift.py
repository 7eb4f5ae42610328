"""Look for drift once, as the first step of the loop does: the verdict is stored, reported and logged, nothing follows.

    python look_for_drift.py

For a cluster without Airflow: run in the library's own environment by the chart's CronJob. The service shows what was
found, and its alerts fire by it; a retraining is then a person's to start.
"""

from __future__ import annotations

import sys

from pneumonia.config.resolve import resolve
from pneumonia.errors import PneumoniaError
from tasks.detect_drift import detect_drift


def main() -> None:
    """Compare the last images with the champion's reference, and print the verdict in words."""
    check = detect_drift(resolve())
    print(check.words)
    if check.run_url:
        print(f"MLflow run: {check.run_url}")


if __name__ == "__main__":
    try:
        main()
    except PneumoniaError as error:
        sys.exit(f"look for drift: {error}")
