"""Prepare the images and train, as a program: for launchers that start several processes of one training.

torchrun --nproc-per-node 2 -m tasks.launch --set train.shards=4
"""

from __future__ import annotations

from typing import Annotated

import typer

from pneumonia.cli.common import (
    ConfigFile,
    Data,
    OnUnreadable,
    Settings,
    Weights,
    disclaim,
    emit,
    emit_json,
    failures,
    progress,
    resolve_config,
)
from pneumonia.environment import prepare
from pneumonia.errors import ConfigError
from tasks.help_training import help_training, is_helper


def main(
    profile: Annotated[str, typer.Option(help="fast, or full")] = "fast",
    data: Data = None,
    weights: Weights = None,
    settings: Settings = None,
    config_file: ConfigFile = None,
    on_unreadable: OnUnreadable = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the trained model as one JSON document")] = False,
) -> None:
    """Prepare the images and train the model; what comes after is flows/pipeline.py's. Not a medical device.

    One of the processes writes the checkpoints, the run and the model; the others compute their share of each batch. A
    flow with the same settings, work folder and store finds the training finished.
    """
    from tasks.prepare_data import prepare_data
    from tasks.train_model import train_model

    with failures():
        named: dict[str, object] = {"data.root": data, "model.weights": weights, "data.on_unreadable": on_unreadable}
        config = resolve_config(config_file, settings, named, profile)
        if config.data.folds:
            raise ConfigError("data.folds: folds are trained by flows/cross_validation.py; leave them out here")
        if is_helper():
            help_training(config)
            return
        with progress("preparing the images") as report:
            dataset = prepare_data(config, report)
        with progress("training") as report:
            trained = train_model(dataset, config, report)
        if as_json:
            emit_json(trained.model_dump(mode="json"))
        else:
            emit(f"weights {trained.weights}\ndigest  {trained.weights_digest}\nrun     {trained.run_id}")
        disclaim(as_json)


if __name__ == "__main__":
    prepare()
    typer.run(main)
