"""Take readers' words about answers, and show what is recorded and what drift was found. Not a medical device."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from pneumonia.errors import FeedbackError, MonitoringError, UnknownEventError
from pneumonia.inference.served_model import NOTICE
from pneumonia.monitoring import feedback, loops, overview, verdicts
from pneumonia.records.drift import DriftVerdict
from pneumonia.records.feedback import NOTE_LETTERS, Feedback, Label, Said
from pneumonia.serving.information import PAGE
from pneumonia.serving.monitoring import Monitoring
from pneumonia.serving.problems import Problem, json_response, unavailable
from pneumonia.serving.service import Service, context_of, service_of

MAX_BODY = 16_384
DAYS, MOST_HOURS = 7, 24 * 366
HISTORY, LOOPS = 200, 20
"""Verdicts and loops that are shown."""


class FeedbackRequest(BaseModel):
    """A reader's word about an answer."""

    model_config = ConfigDict(extra="forbid")

    event: str = Field(max_length=64, description="Id of the event, from the answer")
    verdict: Said = Field(description="Of the model's decision")
    label: Label | None = Field(None, description="Of the image; needed where it was refused")
    note: str = Field("", max_length=NOTE_LETTERS, description="For other readers; name nobody")
    reader: str | None = Field(
        None,
        max_length=64,
        description="Name of the reader; only where the service has no API keys, which name readers",
    )


class MonitorDocument(BaseModel):
    """What is recorded and what was found."""

    model: str | None
    version: str | None
    phantom: bool | None
    notice: str
    recording: bool
    waiting: int = Field(description="Events that are not in the database yet")
    events: dict[str, Any]
    reference_probability: list[int] | None = Field(description="Validation images in each tenth of the probability")
    drift: DriftVerdict | None = Field(description="The last look at drift")
    history: list[dict[str, Any]] = Field(description="Earlier ones, oldest first")
    loops: list[dict[str, Any]] = Field(description="Retrainings and recalibrations, the latest first")
    feedback: dict[str, Any]


async def give_feedback(request: Request) -> Response:
    """Store a reader's word about an answer: agree, disagree or unsure, and the label."""
    service = service_of(request)
    monitoring = _monitoring(service)
    asked = await _read(request)
    reader = _reader(service, monitoring, request, asked)
    (stored,) = await service.compute([lambda: _store(monitoring, asked, reader)])
    context_of(request).fields |= {"verdict": stored.verdict}
    return json_response(stored.model_dump(mode="json"))


async def _read(request: Request) -> FeedbackRequest:
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY:
            raise Problem(413, "body_too_large", f"the body is larger than {MAX_BODY} bytes")
    try:
        return FeedbackRequest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Problem(422, "feedback", f"{place or 'the body'}: {first['msg']}; /docs describes it") from None


def _reader(service: Service, monitoring: Monitoring, request: Request, asked: FeedbackRequest) -> str:
    key = context_of(request).key
    if service.keys:
        if asked.reader is not None:
            raise Problem(422, "feedback", "reader: the API key names the reader; leave the name out")
        return monitoring.reader_of(key.hex())
    return monitoring.reader_of(asked.reader or "of this machine")


def _store(monitoring: Monitoring, asked: FeedbackRequest, reader: str) -> Feedback:
    def store() -> Feedback:
        return feedback.give_feedback(monitoring.database, asked.event, reader, asked.verdict, asked.label, asked.note)

    try:
        try:
            return store()
        except UnknownEventError:  # it may be on its way to the database
            monitoring.flush()
            return store()
    except UnknownEventError as error:
        raise Problem(404, "not_found", str(error)) from None
    except FeedbackError as error:
        raise Problem(422, "feedback", str(error)) from None
    except MonitoringError as error:
        raise unavailable("database", str(error)) from None


async def monitor(request: Request) -> Response:
    """Return what is recorded and what drift was found."""
    service = service_of(request)
    monitoring = _monitoring(service)
    hours = _hours(request.query_params.get("hours", str(24 * DAYS)))
    (found,) = await service.compute([lambda: _describe(service, monitoring, hours)])
    return json_response(found)


def _hours(text: str) -> float:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MOST_HOURS):
        raise Problem(422, "hours", f"hours is a whole number from 1 to {MOST_HOURS}")
    return float(text)


def _describe(service: Service, monitoring: Monitoring, hours: float) -> dict[str, Any]:
    current = service.source.current
    model = None if current is None else current.model
    name, database = model.name if model else "", monitoring.database
    try:
        shown = verdicts.last_verdicts(database, name, HISTORY)
        found = MonitorDocument(
            model=model.name if model else None,
            version=model.version if model else None,
            phantom=model.record.phantom if model else None,
            notice=NOTICE,
            recording=monitoring.recording,
            waiting=monitoring.waiting,
            events=overview.summarise_events(database, name, hours),
            reference_probability=overview.count_probabilities([float(each) for each in model.reference_probabilities])
            if model is not None and len(model.reference_probabilities)
            else None,
            drift=shown[-1] if shown else None,
            history=[each.model_dump(include={"checked_at", "score", "alarm", "kind", "version"}) for each in shown],
            loops=[each.model_dump() for each in loops.last_loops(database, name, LOOPS)],
            feedback={
                "verdicts": feedback.count_verdicts(database, name),
                "states": feedback.count_states(database, name),
            },
        )
    except MonitoringError as error:
        raise unavailable("database", str(error)) from None
    document: dict[str, Any] = json.loads(found.model_dump_json())
    return document


def _monitoring(service: Service) -> Monitoring:
    if service.monitoring is None:
        raise Problem(404, "not_found", "this service records nothing")
    return service.monitoring


async def page(_: Request) -> Response:
    """Return the page of monitoring."""
    return FileResponse(PAGE / "monitor.html", media_type="text/html", headers={"Cache-Control": "no-cache"})
