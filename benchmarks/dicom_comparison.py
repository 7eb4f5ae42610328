"""Compare the decoder's pictures with those of DCMTK and GDCM, on every image that pydicom ships and in given folders.

    python benchmarks/dicom_comparison.py FOLDER … --json benchmarks/results/dicom_comparison.json
    python benchmarks/dicom_comparison.py --pin tests/imaging/dcmtk_pixels.json

Needed: dcm2pnm, dcmj2pnm and dcml2pnm (Debian's dcmtk), and gdcmconv (libgdcm-tools) for JPEG 2000, which DCMTK lacks.
A pixel may differ by one grey level of 255: DCMTK divides the range into 256 steps and does not round. Images that the
decoder refuses for their size alone are compared too. Ends with 1 where a picture differs and `APART` does not give the
reason. ``--pin`` writes what DCMTK shows of the suite's own cases and of pydicom's images: the suite compares it where
DCMTK is not installed.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

sys.path.insert(0, str(Path(__file__).parents[1]))
from pneumonia.imaging import refusal
from pneumonia.imaging.dicom import decode_dicom
from tests.support.dcmtk import SHIPPED, STEP, dcmtk_version, display_options, render, thinned
from tests.support.dicom_cases import CASES

_RANGE = "no window: DCMTK shows the whole range, the decoder the range without outliers"
APART = {
    "JPEG2000.dcm": _RANGE,
    "JPEG-lossy.dcm": _RANGE,
    "JPGExtended.dcm": _RANGE,
    "57_bitsstored16_window_missing_marker.dcm": _RANGE,
    "10_padding_SS.dcm": "DCMTK shows padding as it is, and counts it in the range",
    "04_voilut_16bit_declared_12bit_data.dcm": "DCMTK shows the declared range unless the option +Mv is given",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pin", type=Path)
    options = parser.parse_args()
    smallest, refusal.MIN_SIDE = refusal.MIN_SIDE, 1
    rows = [row for folder in (SHIPPED, *options.folders) for file in _files(folder) if (row := compare(file))]
    if options.pin:
        equal = [row for row in rows if row["result"] == "equal" and row["smallest_side"] >= smallest]
        _write_pins(options.pin, [row["file"] for row in equal])
        return 0
    results = [row["result"] for row in rows]
    report = {
        "dcmtk": dcmtk_version(),
        "pydicom": pydicom.__version__,
        "counts": {result: results.count(result) for result in sorted(set(results))},
        "images": rows,
    }
    text = json.dumps(report, indent=1)
    if options.json:
        options.json.write_text(text + "\n")
    print(text)
    return int("differs" in results)


def compare(file: Path) -> dict[str, Any] | None:
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
    except refusal.Refusal as refused:
        return row | {"result": "refused", "reason": refused.reason}
    row |= {"encoding": decoded.encoding, "notes": list(decoded.notes)}
    row |= {"smallest_side": min(decoded.width, decoded.height)}
    try:
        other = render(content, display_options(dataset))
    except (subprocess.CalledProcessError, ValueError) as error:
        return row | {"result": "not read by the others", "reason": str(getattr(error, "stderr", error))[:200]}
    difference = np.abs(np.asarray(decoded.image).astype(int) - other)
    row |= {"largest": int(difference.max()), "pixels": int((difference > STEP).sum())}
    if difference.max() <= STEP:
        return row | {"result": "equal"}
    reason = APART.get(file.name)
    return row | ({"result": "apart", "reason": reason} if reason else {"result": "differs"})


def _files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.rglob("*")) if file.is_file()]


def _write_pins(path: Path, equal: list[str]) -> None:
    """Write what DCMTK shows of the suite's cases and of pydicom's images, at some of their pixels."""
    lines = [f'"dcmtk": {json.dumps(dcmtk_version())}']
    for name, case in CASES.items():
        if case.dcmtk:
            lines.append(f"{json.dumps(name)}: {json.dumps(thinned(render(case.content, case.dcmtk)))}")
    for file in _files(SHIPPED):
        if file.name in equal:
            shown = render(file.read_bytes(), display_options(pydicom.dcmread(file)))
            lines.append(f"{json.dumps('pydicom: ' + file.name)}: {json.dumps(thinned(shown))}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    sys.exit(main())
