"""The results of the loop's steps: what a look at drift found, what is done about it, and what came of it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from pneumonia.records.base import Document
from pneumonia.records.drift import DriftVerdict


class DriftCheck(Document):
    """The result of `detect_drift`.

    Attributes:
        name, version: of the champion that was looked at; None where there is none.
        verdict: None where nothing could be compared, for the reason in `words`.
        key: of the verdict, model, window and settings.
        words: what was found, in a sentence.
        report: path of the Markdown report; its plots are in the same folder.
        run_id, run_url: of the MLflow run with the report.
    """

    name: str | None = None
    version: str | None = None
    verdict: DriftVerdict | None = None
    key: str = ""
    words: str
    report: str | None = None
    run_id: str | None = None
    run_url: str | None = None


class Decision(Document):
    """The result of `decide_action`.

    Attributes:
        action: ``none`` where nothing is to be done, and ``notify`` where a person is to look.
        reason: why, in a sentence.
        trace_id: of the loop that this run works on; None where it works on none.
        holder: name of the orchestrator's run that holds the loop.
        name, version: of the champion.
        profile: of the champion's settings.
        settings: the champion's settings as a tree, with which the pipeline runs again.
        approval: a person decides on the promotion.
        until: feedback that was given later is the next loop's; seconds since 1970.
    """

    action: Literal["none", "notify", "retrain", "recalibrate"]
    reason: str
    trace_id: str | None = None
    holder: str = ""
    name: str | None = None
    version: str | None = None
    profile: str = "fast"
    settings: dict[str, Any] = Field(default_factory=dict)
    approval: bool = False
    until: float = 0.0


class LoopResult(Document):
    """The result of `finish_loop`.

    Attributes:
        trace_id: of the loop.
        outcome: of its model.
        words: why, in words.
        new_version: that is champion now; None where nothing was promoted.
    """

    trace_id: str
    outcome: Literal["promoted", "refused", "failed"]
    words: str
    new_version: str | None = None
