"""Run the pipeline's steps one after the other, without an orchestrator: a job of a batch system.

    python run_steps.py [--profile full] [--set KEY=VALUE …]

Finished steps are found again, and an interrupted training resumes, so that a job may be started anew at any time. The
exit status is 0 where a verdict was reached, whatever it is, and 1 where a step could not be done.
"""

from __future__ import annotations

import argparse
import logging
import sys

from pneumonia.config.resolve import resolve
from pneumonia.config.schema import PROFILES, Config
from pneumonia.environment import prepare
from pneumonia.errors import PneumoniaError
from pneumonia.records.steps import Promotion


def run(config: Config) -> Promotion:
    """Take radiographs to a validated, registered model; torch is loaded here."""
    from tasks.build_dossier import build_dossier
    from tasks.export_model import export_model
    from tasks.prepare_data import prepare_data
    from tasks.promote_model import promote_or_validate_again
    from tasks.train_model import train_model
    from tasks.validate_model import validate_model

    dataset = prepare_data(config)
    trained = train_model(dataset, config)
    exported = export_model(dataset, trained, config)
    validation = validate_model(dataset, trained, exported, config)
    built = build_dossier(dataset, trained, exported, validation, config)
    _, promotion = promote_or_validate_again(dataset, trained, exported, validation, built, config)
    return promotion


def main() -> int:
    """Run the steps with the settings of the command line and the environment; print what became of the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=PROFILES, default="full")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting; repeatable")
    options = parser.parse_args()
    prepare()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        promotion = run(resolve(options.profile, assignments=options.set))
    except PneumoniaError as error:
        print(error, file=sys.stderr)
        return 1
    print(promotion.model_dump_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
