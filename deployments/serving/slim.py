"""Remove from the serving image's environment what the service never loads: 170 MB of 415.

    python slim.py SITE_PACKAGES

Every pattern must find something: a new version of a package that has moved its files ends the build here, and not the
service later. What is left must still answer: the test of the booted stack sends what these packages decode and
compute.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

UNUSED = (
    "openvino/libs/*_gpu_plugin.so",  # OpenVINO's devices other than the CPU
    "openvino/libs/*_npu_plugin.so",
    "openvino/libs/cache.json",  # the GPU's
    "openvino/libs/*_tensorflow_frontend.so*",  # of the frontends the graph needs the one of ONNX
    "openvino/libs/*_tensorflow_lite_frontend.so*",
    "openvino/libs/*_pytorch_frontend.so*",
    "openvino/libs/*_paddle_frontend.so*",
    "openvino/libs/*_gguf_frontend.so*",
    "openvino/libs/*_jax_frontend.so*",
    "openvino/include",  # for C++
    "openvino/cmake",
    "**/*.pyi",
    "pydicom/data/*_files",  # examples
    "numpy/**/tests",
    "imagecodecs/_*.abi3.so",
    "imagecodecs.libs/*.so*",
)
KEPT = (
    "_shared.",
    "_shared_cython.",
    "_imcd.",
    "_jpeg8.",  # lossless and 12-bit JPEG
    "_jpegls.",
    "libjpeg-",
    "libcharls-",
    "libgomp-",
)
"""How the names of imagecodecs' files begin that DICOM files need."""


def main(packages: Path) -> None:
    """Remove the files, or fail where one of them is not there."""
    for pattern in UNUSED:
        found = [path for path in packages.glob(pattern) if not path.name.startswith(KEPT)]
        if not found:
            sys.exit(f"{pattern}: finds nothing in {packages}; correct the list in deployments/serving/slim.py")
        for path in found:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    for name in KEPT:
        if not [*packages.glob(f"imagecodecs*/{name}*")]:
            sys.exit(f"{name}: is kept, and not there; correct the list in deployments/serving/slim.py")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
