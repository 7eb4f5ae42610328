"""Ask a running service whether it is alive and ready, and let it score a phantom, a synthetic radiograph.

    python smoke.py URL [--wait SECONDS] [--version VERSION]

With --version the program that answers has to be of that release. The API key is PNEUMONIA_API_KEY, the first where
there are several. Exit code 0 if all is well, 1 with the reason otherwise. Not a medical device.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import Any

import numpy as np
from PIL import Image

from pneumonia.config.schema import PhantomConfig
from pneumonia.data.phantom.dataset import render

PNEUMONIA = 1


def ask(url: str, content: bytes | None = None, key: str = "") -> tuple[int, dict[str, Any]]:
    """Return the status and the document of an answer."""
    headers = {"Content-Type": "image/png"} if content else {}
    headers |= {"X-API-Key": key} if key else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, content, headers), timeout=60) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def phantom() -> bytes:
    """Return a phantom with opacities as a PNG file, the same at every call."""
    content = io.BytesIO()
    pixels = render(PNEUMONIA, np.random.default_rng(0), PhantomConfig().size)
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def wait_until_ready(url: str, seconds: float) -> None:
    """Ask until radiographs are answered; the service may be away or without a champion until then.

    Raises:
        RuntimeError: they are not after that time; with the service's own reason.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            status, document = ask(f"{url}/readyz")
        except (OSError, ValueError) as error:
            status, document = 0, {"detail": str(error)}
        if status == 200:
            return
        if time.monotonic() >= end:
            raise RuntimeError(f"{url} is not ready: {document.get('detail', status)}")
        time.sleep(1)


def check(url: str, key: str, seconds: float, wanted: str = "") -> str:
    """Check the service; return what it answered, in words.

    Args:
        url: of the service.
        key: of its API; empty where it has none.
        seconds: longest wait until it is ready, s.
        wanted: the version of the program that has to answer; empty: any.

    Raises:
        RuntimeError: it is not alive, not ready, of another version, or answers otherwise than documented.
    """
    wait_until_ready(url, seconds)
    status, document = ask(f"{url}/healthz")
    if status != 200:
        raise RuntimeError(f"{url}/healthz answers {status}")
    if wanted and document["version"] != wanted:
        raise RuntimeError(
            f"{url} runs version {document['version']}, not {wanted}; look at image.tag and image.digests"
        )
    status, document = ask(f"{url}/v1/predict", phantom(), key)
    if status == 422 and "code" in document:  # a model of radiographs may refuse a synthetic one, with its reason
        return f"refused the phantom: {document['code']}, {document['reason']}"
    if status != 200:
        raise RuntimeError(f"{url}/v1/predict answers {status}: {document.get('detail', document)}")
    (result,) = document["results"]
    if not 0 <= result["probability"] <= 1 or "Not a medical device" not in document["notice"]:
        raise RuntimeError(f"{url}/v1/predict: an unexpected answer: {document}")
    model = f"version {result['version']} of {result['model']}"
    return f"{model} scored the phantom {result['probability']:.4f}, {result['decision']}. {document['notice']}"


def main() -> None:
    """Run the check of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--wait", type=float, default=60.0, metavar="SECONDS", help="longest wait until it is ready")
    parser.add_argument("--version", default="", help="what the service has to run; any if it is not given")
    arguments = parser.parse_args()
    key = os.environ.get("PNEUMONIA_API_KEY", "").partition(",")[0].strip()
    try:
        print(check(arguments.url.rstrip("/"), key, arguments.wait, arguments.version))
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        sys.exit(f"smoke: {error}")


if __name__ == "__main__":
    main()
