"""LitServe as in its guide "Speed up serving by 200x": base64 in JSON, decoded and computed in its workers."""

from __future__ import annotations

import base64
import os
import sys
from typing import Any

import litserve
from classifier import Classifier
from torch import Tensor


class Api(litserve.LitAPI):
    """One image a request."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Load the model."""
        self.classifier = Classifier()

    def decode_request(self, request: dict[str, str]) -> Tensor:
        """Return the pixels of a request."""
        return self.classifier.open(base64.b64decode(request["image_data"]))

    def predict(self, images: Tensor) -> dict[str, Any]:
        """Answer an image."""
        return self.classifier.answer(images)

    def encode_response(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the answer as it is."""
        return answer


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=int(os.environ["PEER_WORKERS"]))
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
