"""BentoML as in its examples of image models: a PIL image as the API's type, one worker a core."""

from __future__ import annotations

import os
from typing import Any

import bentoml
from classifier import Classifier
from PIL.Image import Image


@bentoml.service(workers=int(os.environ["PEER_WORKERS"]), traffic={"timeout": 60})
class Pneumonia:
    """One image a request."""

    def __init__(self) -> None:
        self.classifier = Classifier()

    @bentoml.api
    def predict(self, image: Image) -> dict[str, Any]:
        """Answer an image."""
        return self.classifier.answer(self.classifier.transform(image))
