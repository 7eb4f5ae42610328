"""What both clouds are made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.cloud.shape import FILE, read_shape


def test_a_role_that_names_what_does_not_exist_is_refused(tmp_path: Path) -> None:
    text = FILE.read_text()
    for wrong in ('buckets = {data = "read"}', 'secrets = ["MLFLOW_PIPELINE_PASSWORD", "PNEUMONIA_PATIENT_KEY"]'):
        assert wrong in text
        changed = tmp_path / "shape.toml"
        changed.write_text(text.replace(wrong, wrong.replace("data", "other").replace("MLFLOW_", "")))
        with pytest.raises(ValueError, match="the role training names"):
            read_shape(changed)
    changed.write_text(text.replace('buckets = {data = "read"}', 'buckets = {data = "own"}'))
    with pytest.raises(ValueError, match="the role training names"):
        read_shape(changed)


def test_the_machine_alone_writes() -> None:
    shape = read_shape()
    writers = {role for role, gets in shape.roles.items() if "write" in gets.buckets.values()}
    assert writers == {"machine"}
    assert "POSTGRES_PASSWORD" not in {*shape.roles["serving"].secrets, *shape.roles["training"].secrets}
