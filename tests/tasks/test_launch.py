"""Images and training as a program of their own: the same options as the flow, and where the time went."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from typer.testing import CliRunner

from pneumonia.config.schema import Config
from tasks.launch import main
from tests.support.small import SMALL


def launch(*arguments: str) -> tuple[int, str, str]:
    program = typer.Typer()
    program.command()(main)
    done = CliRunner().invoke(program, [*arguments])
    return done.exit_code, done.stdout, done.stderr


def test_it_has_the_flow_s_options_and_says_where_the_time_went(work: Path, phantoms: Path) -> None:
    left_out = ("data.root=", "train.epochs=")
    settings = [setting for setting in SMALL if not setting.startswith(left_out)]
    given = [part for setting in (*settings, "train.epochs=1", f"work={work}") for part in ("--set", setting)]
    code, out, err = launch("--data", str(phantoms), "--weights", "none", "--on-unreadable", "skip", "--json", *given)
    assert code == 0, err
    (written,) = work.glob("training/*/*/config.json")
    config = Config.model_validate_json(written.read_text())
    assert (config.data.root, config.model.weights, config.data.on_unreadable) == (str(phantoms), "none", "skip")
    assert json.loads(out)["weights"] == str(written.with_name("model.safetensors"))
    assert "preparing the images: took " in err
    assert "training: took " in err
