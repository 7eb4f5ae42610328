"""An MLflow model that takes image files, for `mlflow models serve`.

python mlflow_model.py FOLDER writes it. A column of base64 in JSON is how MLflow's scoring server takes bytes, and what
its own example of image models does; the pt2 model that is registered takes pixels, which no client of a service has.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
from classifier import WEIGHTS, Classifier
from mlflow.models import ModelSignature, set_model
from mlflow.types import ColSpec, DataType, Schema


class Pneumonia(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """A frame of image files."""

    def load_context(self, context: Any) -> None:
        """Load the model."""
        self.classifier = Classifier(context.artifacts["weights"])

    def predict(self, model_input: pd.DataFrame) -> list[dict[str, Any]]:
        """Answer each row's image."""
        return [self.classifier.answer(self.classifier.open(content)) for content in model_input["image"]]


if __name__ == "__main__":
    mlflow.pyfunc.save_model(
        sys.argv[1],
        python_model=__file__,
        artifacts={"weights": os.environ[WEIGHTS]},
        code_paths=[str(Path(__file__).with_name("classifier.py"))],
        signature=ModelSignature(Schema([ColSpec(DataType.binary, "image")])),
        pip_requirements=[],
    )
else:
    set_model(Pneumonia())
