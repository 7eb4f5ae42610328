"""Enter an opening of the release set by a benchmark, in the store that the pipeline uses without being told."""

from __future__ import annotations

from pathlib import Path

from pneumonia.config.resolve import resolve
from pneumonia.data.manifest import Manifest
from pneumonia.registry import openings
from pneumonia.tracking.client import tracking_uri


def enter(manifest: Manifest, script: str, weights: str, model: str, *, demo: bool = False) -> None:
    """Enter an opening before a benchmark reads the labels of the test folder.

    Args:
        manifest: of the data set.
        script: ``__file__`` of the benchmark.
        weights: digest of the model's weights; empty where there is no model.
        model: what it is called.
        demo: of a demo profile, or of phantoms.
    """
    files = [entry.sha256 for entry in manifest.entries if entry.folder == "test"]
    uri = tracking_uri(resolve("full", assignments=["data.root=data"]))
    openings.enter(
        uri,
        openings.enter_images(uri, files),
        weights=weights,
        model=model,
        purpose=f"benchmarks/{Path(script).name}",
        demo=demo,
    )
