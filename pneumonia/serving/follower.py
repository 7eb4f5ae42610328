"""Follow the champion: fetch a new one, try it on images with known answers, and put it to use as a whole."""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from pneumonia.config.service import ServingConfig
from pneumonia.errors import DataError, PneumoniaError, TrackingError
from pneumonia.inference.served_model import ServedModel
from pneumonia.registry.mirror import Champion
from pneumonia.serving.metrics import Metrics

TOLERANCE = {"fp32": 1e-3, "int8": 0.05}
"""Largest difference of a logit from the known one. Processors add in different orders; with instructions from SSE4.1
to AVX-512 the graphs of a trained ResNet18 differed by at most 3e-6 in fp32 and 0.012 in int8, where the last bit of a
sum may move an activation by a whole step."""
LONGEST_STOP = 5.0
"""Seconds."""
FIRST_RETRY, LAST_RETRY = 60.0, 3600.0
"""Seconds after which a champion that was refused is tried again; doubled with every refusal up to the last."""

logger = logging.getLogger(__name__)


class Reader(Protocol):
    """What the follower asks: `pneumonia.registry.reader.Reader`."""

    def champion(self) -> Champion | None:
        """Ask the registry for the champion; raise TrackingError while it is away."""

    def mirrored(self) -> Champion | None:
        """Return the champion that the work folder names."""

    def folder(self, champion: Champion) -> Path:
        """Return the verified files of a champion."""


@dataclass(frozen=True)
class Serving:
    """A model that answers, with the champion that it is; a request takes it once, and answers from nothing else."""

    model: ServedModel
    champion: Champion


@dataclass
class _Refused:
    """The champion that was refused last, and when it is tried again (monotonic seconds)."""

    champion: Champion
    wait: float
    until: float


class Follower:
    """Keeps a model that answers, in a thread of its own.

    Attributes:
        current: replaced as a whole; None while there is no champion.
        why: in words, why there is none.
    """

    def __init__(self, reader: Reader, config: ServingConfig, metrics: Metrics) -> None:
        self.current: Serving | None = None
        self.why = "no champion was looked up yet"
        self._reader, self._config, self._metrics = reader, config, metrics
        self._stopped = threading.Event()
        self._away = False
        self._refused: _Refused | None = None
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)

    def start(self) -> None:
        """Take what the mirror holds, so that the first request is answered, and begin to follow."""
        try:
            mirrored = self._reader.mirrored()
            if mirrored is not None:
                self._adopt(mirrored)
        except PneumoniaError as error:
            self._say_away(str(error))
        self._thread.start()

    def stop(self) -> None:
        """End the thread; waits a while for a model that is being loaded, not for a registry that is away."""
        self._stopped.set()
        self._thread.join(LONGEST_STOP)

    def _follow(self) -> None:
        while not self._stopped.is_set():
            self.look()
            self._stopped.wait(self._config.follow_seconds)

    def look(self) -> None:
        """Look the champion up once, and put it to use where it is another one."""
        try:
            champion = self._reader.champion()
            if champion is None:
                self._say_none()
            else:
                self._take(champion)
        except PneumoniaError as error:  # asked for again at the next look, as its files are
            self._say_away(str(error))
        except Exception as error:  # noqa: BLE001 — the thread must live: it is logged, counted and tried again
            self._say_away(type(error).__name__, error)
        else:
            if self._away:
                self._away = False
                logger.info("the champion can be looked up again")

    def _take(self, champion: Champion) -> None:
        current = self.current
        if current is not None and _same(current.champion, champion):
            if current.champion != champion:  # its card has changed: metrics on images of another place, say
                self.current = Serving(current.model, champion)
            return
        refused = self._refused
        if refused is not None and _same(refused.champion, champion) and time.monotonic() < refused.until:
            return
        self._adopt(champion)

    def _adopt(self, champion: Champion) -> None:
        """Load a champion, try it, and put it to use; refuse it otherwise.

        Raises:
            TrackingError: its files cannot be fetched now.
        """
        try:
            model = self._load(champion)
        except TrackingError:
            raise
        except PneumoniaError as error:
            self._refuse(champion, str(error))
        except Exception as error:  # whatever a damaged model raises, the one in use goes on
            logger.exception("%s could not be loaded", _words(champion))
            self._refuse(champion, type(error).__name__)
        else:
            self._refused, self.why = None, ""
            self.current = Serving(model, champion)
            self._metrics.name_model(model)
            fields = {"model": champion.name, "version": champion.version}
            logger.info("%s", describe(champion), extra={"fields": fields})
            _release_memory()

    def _load(self, champion: Champion) -> ServedModel:
        if not champion.export_digest:
            raise DataError(
                f"{_words(champion)} has no exported model; make one with "
                f"`pneumonia export --model models:/{champion.name}/{champion.version}`"
            )
        model = ServedModel(self._reader.folder(champion), champion.name, champion.version, self._config)
        if model.record.model_digest() != champion.model_digest:
            raise DataError(f"{_words(champion)}: its record is another model's; export it again")
        check_known_answers(model)
        return model

    def _refuse(self, champion: Champion, reason: str) -> None:
        again = self._refused is not None and _same(self._refused.champion, champion)
        wait = min(2 * self._refused.wait, LAST_RETRY) if again and self._refused is not None else FIRST_RETRY
        self._refused = _Refused(champion, wait, time.monotonic() + wait)
        self._metrics.failed_swaps.inc()
        goes_on = "" if self.current is None else f"; version {self.current.champion.version} goes on"
        if self.current is None:
            self.why = f"{_words(champion)} was refused: {reason}"
        logger.error("%s is not put to use: %s%s; tried again in %.0f s", _words(champion), reason, goes_on, wait)

    def _say_away(self, words: str, surprise: Exception | None = None) -> None:
        """Count a lookup that failed, and log the first of several."""
        self._metrics.failed_lookups.inc()
        if not self._away:
            self._away = True
            if self.current is None:
                self.why = f"the champion cannot be looked up: {words}"
            state = "the model in use goes on" if self.current else "there is no model"
            logger.warning("the champion cannot be looked up, %s: %s", state, words, exc_info=surprise)

    def _say_none(self) -> None:
        if self.current is None:
            self.why = "no model is champion yet"
        else:
            logger.debug("the registry names no champion; the model in use goes on")


def _same(one: Champion, other: Champion) -> bool:
    return (one.name, one.version, one.export_digest) == (other.name, other.version, other.export_digest)


def _words(what: Champion | ServedModel) -> str:
    return f"version {what.version} of {what.name}"


def describe(champion: Champion) -> str:
    """Say in one line which model answers and what it was trained on."""
    data = "trained on PHANTOMS (synthetic images)" if champion.phantom else "trained on radiographs"
    return f"{_words(champion)} answers, {data}, model {champion.model_digest[:12]}"


def check_known_answers(model: ServedModel) -> None:
    """Compute the sample images that were exported with a model, and compare with the answers that came with them.

    Raises:
        DataError: there are none, or the answers differ.
    """
    pixels, key = model.known.get("sample_pixels"), f"sample_logits_{model.precision}"
    if pixels is None or key not in model.known:
        raise DataError(f"{_words(model)}: its reference holds no known answers; export it again")
    found = np.stack([model.run(np.asarray(each, np.uint8)).logits for each in pixels])
    difference = float(np.abs(found - model.known[key].astype(np.float32)).max())
    if not difference <= TOLERANCE[model.precision]:
        raise DataError(
            f"{_words(model)}: its {model.precision} graph answers otherwise than when it was "
            f"exported (a logit differs by {difference:.3g}, {TOLERANCE[model.precision]:g} is allowed)"
        )


def _release_memory() -> None:
    """Give the memory of the model that was replaced back to the operating system, where the C library can."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
        if trim is not None:
            trim(0)
