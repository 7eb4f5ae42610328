"""Compare the decoder's pictures with those of DCMTK and GDCM, on every image that pydicom ships and in given folders.

    python benchmarks/dicom_comparison.py FOLDER … --json benchmarks/results/dicom_comparison.json
    python benchmarks/dicom_comparison.py --pin tests/imaging/dcmtk_pixels.json

Needed: dcm2pnm, dcmj2pnm and dcml2pnm (Debian's dcmtk) and gdcmconv (libgdcm-tools), whose JPEG 2000 DCMTK does not have.
Each picture may differ by one grey level of 255 on a pixel: DCMTK divides the range into 256 steps and does not round.
Ends with 1 where a picture differs and `APART` does not give the reason. ``--pin`` writes what DCMTK shows of the suite's
own cases, which the suite compares where DCMTK is not installed.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.data
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))
from pneumonia.imaging.dicom import decode_dicom
from pneumonia.imaging.refusal import Refusal
from tests.support.dcmtk import STEP, dcmtk_version, render
from tests.support.dicom_cases import CASES, GRID

APART = {
    "JPEG2000.dcm": "no window: DCMTK shows the whole range, the decoder the range without outliers",
    "JPEG-lossy.dcm": "no window: DCMTK shows the whole range, the decoder the range without outliers",
    "JPGExtended.dcm": "no window: DCMTK shows the whole range, the decoder the range without outliers",
    "10_padding_SS.dcm": "DCMTK shows padding as it is, and counts it in the range",
    "57_bitsstored16_window_missing_marker.dcm": "no window: DCMTK shows the whole range, with the stray pixel",
    "04_voilut_16bit_declared_12bit_data.dcm": "DCMTK shows the declared range unless it is told otherwise (+Mv)",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pin", type=Path)
    options = parser.parse_args()
    if options.pin:
        options.pin.write_text(json.dumps(_pins(), indent=None, separators=(",", ":")).replace('],"', '],\n"') + "\n")
        return 0
    shipped = Path(pydicom.data.__file__).parent / "test_files"
    files = [file for folder in (shipped, *options.folders) for file in sorted(folder.rglob("*")) if file.is_file()]
    rows = [row for file in files if (row := _compare(file))]
    counts = {
        result: sum(row["result"] == result for row in rows) for result in sorted({row["result"] for row in rows})
    }
    report = {"dcmtk": dcmtk_version(), "pydicom": pydicom.__version__, "counts": counts, "images": rows}
    text = json.dumps(report, indent=1)
    if options.json:
        options.json.write_text(text + "\n")
    print(text)
    return int(any(row["result"] == "differs" for row in rows))


def _pins() -> dict[str, Any]:
    """What DCMTK shows of the suite's cases, at every `GRID`-th pixel."""
    shown = {name: render(case.content, case.dcmtk)[::GRID, ::GRID] for name, case in CASES.items() if case.dcmtk}
    return {"dcmtk": dcmtk_version()} | {name: picture.ravel().tolist() for name, picture in shown.items()}


def _compare(file: Path) -> dict[str, Any] | None:
    """Compare one file; None for one that is no DICOM image."""
    content = file.read_bytes()
    try:
        dataset = pydicom.dcmread(io.BytesIO(content), force=True)
        if "PixelData" not in dataset:
            return None
    except Exception:  # noqa: BLE001 - whatever pydicom says of a file that is no DICOM
        return None
    row: dict[str, Any] = {"file": file.name}
    try:
        decoded = decode_dicom(content)
    except Refusal as refusal:
        return row | {"result": "refused", "reason": refusal.reason}
    row |= {"encoding": decoded.encoding, "notes": list(decoded.notes)}
    try:
        other = render(content, _display_options(dataset))
    except (subprocess.CalledProcessError, ValueError) as error:
        return row | {"result": "not read by the others", "reason": str(getattr(error, "stderr", error))[:200]}
    difference = np.abs(_picture(decoded.image).astype(int) - other)
    row |= {"largest": int(difference.max()), "pixels": int((difference > STEP).sum())}
    if difference.max() <= STEP:
        return row | {"result": "equal"}
    reason = APART.get(file.name)
    return row | ({"result": "apart", "reason": reason} if reason else {"result": "differs"})


def _picture(image: Any) -> NDArray[np.uint8]:
    return np.asarray(image)


def _display_options(dataset: pydicom.Dataset) -> str:
    """Return the options by which DCMTK applies what the file names, as the decoder does."""
    if dataset.get("VOILUTSequence"):
        return "+Wl 1"
    if dataset.get("WindowWidth") not in (None, ""):
        return "+Wi 1"
    if dataset.SamplesPerPixel == 3 or (dataset.BitsStored == 8 and dataset.PixelRepresentation == 0):
        return "-W"
    return "+Wm"


if __name__ == "__main__":
    sys.exit(main())
