"""First step of a cross-validation: list the configurations of every seed and fold."""

from __future__ import annotations

from collections.abc import Sequence

from pneumonia.config.recipe import of_fold
from pneumonia.config.schema import Config
from pneumonia.errors import ConfigError
from pneumonia.progress import Progress, silent
from pneumonia.timing import reports_time


@reports_time
def plan_folds(config: Config, seeds: Sequence[int], folds: int, progress: Progress = silent) -> tuple[Config, ...]:
    """Return a configuration a seed and fold, seed by seed: each trains without the patients of one fold.

    Args:
        config: the recipe, without seeds and folds of its own.
        seeds: each one of a division into folds and of the trainings on it; none twice.
        folds: of each seed, 2 or more.
        progress: called at the end.

    Raises:
        ConfigError: no seed, a seed twice, a number of folds that cannot be, or a configuration that sets them too.
    """
    own = {name: value for name, value in _own(config).items() if value}
    if own:
        named = ", ".join(f"{name}={value}" for name, value in own.items())
        raise ConfigError(f"{named}: a cross-validation sets these for each fold; name its seeds and folds instead")
    if not seeds or len(set(seeds)) != len(seeds):
        raise ConfigError(f"seeds: {', '.join(map(str, seeds)) or 'none'}: name one or more, each once")
    if not 2 <= folds <= 100:
        raise ConfigError(f"folds: {folds} is outside 2 to 100")
    if min(seeds) < 0 or max(seeds) >= 2**31:
        raise ConfigError(f"seeds: {', '.join(map(str, seeds))}: a seed is in 0 to {2**31 - 1}")
    planned = tuple(of_fold(config, seed, folds, fold) for seed in seeds for fold in range(folds))
    progress(1.0, 1.0, f"{len(planned)} trainings: {folds} folds, seeds {', '.join(map(str, seeds))}")
    return planned


def _own(config: Config) -> dict[str, int]:
    data = config.data
    return {
        "train.seed": config.train.seed,
        "data.split_seed": data.split_seed,
        "data.folds": data.folds,
        "data.fold": data.fold,
    }
