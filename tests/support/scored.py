"""Tables of scored images, drawn at random with every attribute that slices are made by."""

from __future__ import annotations

import numpy as np

from pneumonia.evaluation.scored_table import ScoredImage, ScoredTable

VIEWS, AGES = ("PA", "AP", ""), ("1 to 5 years", "")


def scored_table(n: int = 120, seed: int = 0, threshold: float = 0.4) -> ScoredTable:
    """Two images a patient; bright images are scored worse."""
    rng = np.random.default_rng(seed)
    return ScoredTable(tuple(_image(at, rng) for at in range(n)), threshold)


def _image(at: int, rng: np.random.Generator) -> ScoredImage:
    label, bright = at // 2 % 2, float(rng.uniform(0.3, 0.7))
    noise = rng.normal(0, 1.2 if bright > 0.55 else 0.6)
    subtype = ("bacteria", "virus")[at // 4 % 2] if label else ""
    return ScoredImage(
        path=f"test/{('NORMAL', 'PNEUMONIA')[label]}/{at:03}, image.jpeg",
        sha256=f"{at:064x}",
        patient=f"p{at // 2}",
        drawn_with=f"p{at // 2}",
        patient_source="name",
        label=label,
        probability=float(1 / (1 + np.exp(-2 * (label - 0.5) - noise))),
        copy=at == 7,
        subtype=subtype,
        width=1000 + 10 * (at % 30),
        height=800,
        encoding="png;L;8" if at % 10 == 0 else f"jpeg;L;q={5 + at % 3 * 12:.1f}",
        brightness=bright,
        age=AGES[at % 2],
        view=VIEWS[at % 3],
    )
