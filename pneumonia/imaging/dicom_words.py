"""List the words of a DICOM file about its image that may be stored; all others may name somebody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MODALITIES = frozenset(
    {"CR", "DX", "DR", "RG", "OT", "SC", "CT", "MR", "MG", "US", "XA", "RF", "NM", "PT", "IO", "PX", "ES", "XC"}
)
"""DICOM PS3.3, C.7.3.1.1.1, and DR, which devices write."""
BODY_PARTS = frozenset(
    {
        *("ABDOMEN", "ANKLE", "ARM", "BREAST", "CHEST", "CLAVICLE", "COCCYX", "CSPINE", "ELBOW", "EXTREMITY", "FEMUR"),
        *("FINGER", "FOOT", "FOREARM", "HAND", "HEAD", "HEEL", "HIP", "HUMERUS", "JAW", "KNEE", "LEG", "LSPINE"),
        *("LUNG", "NECK", "NOSE", "OTHER", "PELVIS", "RIB", "SHOULDER", "SKULL", "SPINE", "STERNUM", "THORAX"),
        *("TOE", "TRUNK", "TSPINE", "UNKNOWN", "WHOLEBODY", "WRIST"),
    }
)
"""DICOM PS3.16, annex L, the parts that radiographs show."""
VIEWS = frozenset({"PA", "AP", "LL", "RL", "LLD", "RLD", "LLO", "RLO", "LAO", "RAO", "LPO", "RPO", "LAT", "LATERAL"})
"""DICOM PS3.3, C.8.1.3.1.1 and C.8.11.5.1.1, and LAT, which devices write."""
OTHER = "OTHER"
_ABOUT_THE_FILE = {"modality": MODALITIES, "body_part": BODY_PARTS, "view": VIEWS}


def storable(findings: Mapping[str, Any]) -> dict[str, Any]:
    """Return an input check's findings without the patient's age, and with `OTHER` for every word of no list."""
    kept = {name: value for name, value in findings.items() if name != "age"}
    for name, words in _ABOUT_THE_FILE.items():
        if kept.get(name) and kept[name] not in words:
            kept[name] = OTHER
    return kept
