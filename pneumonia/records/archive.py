"""The document of a scored archive."""

from __future__ import annotations

from pneumonia.records.base import Document


class ScoredArchive(Document):
    """The result of `score_archive`. Not a medical device.

    Attributes:
        file: address of the Parquet file, without a password.
        images: rows in it, one an image.
        counts: images by decision, and refused ones by code.
        refused: images without a decision.
    """

    file: str
    images: int
    counts: dict[str, int]
    refused: int
