"""FastAPI with the model in the process, as the projects of this field serve one: `uvicorn fastapi_app:app`."""

from __future__ import annotations

from typing import Any

from classifier import Classifier
from fastapi import FastAPI, File, UploadFile

app = FastAPI()
classifier = Classifier()


@app.get("/health")
def health() -> dict[str, str]:
    """Return that the model is loaded."""
    return {"status": "ok"}


@app.post("/predict")
async def predict(file: UploadFile = File(...)) -> dict[str, Any]:  # noqa: B008
    """Answer one file."""
    return classifier.answer(classifier.open(await file.read()))
