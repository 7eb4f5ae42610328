"""Answer and explain radiographs. Not a medical device."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from pneumonia.imaging.radiograph import UnreadableRadiograph
from pneumonia.inference import explanation
from pneumonia.inference.heat_map import VIEWS, View
from pneumonia.inference.served_model import NOTICE, Answer, ServedModel
from pneumonia.serving.problems import Problem, json_response
from pneumonia.serving.service import Context, Recorded, Service, milliseconds_since, service_of


async def predict(request: Request) -> Response:
    """Answer one file or several."""
    service = service_of(request)
    async with service.turn(request) as context:
        serving = service.serving()
        model = serving.model
        files = await service.uploads.read(request)
        answers = await service.answers(context, model, [file.content for file in files])
        _note(context, model, [each.answer for each in answers])
        if len(answers) == 1 and answers[0].answer.refused:
            raise refusal(model, document(model, answers[0]))
        results = [result(model, each, file.name, context.began) for file, each in zip(files, answers, strict=True)]
    named: dict[str, Any] = {"name": model.name, "version": model.version}
    named |= {"phantom": model.record.phantom, "weights_digest": model.record.weights_digest}
    return json_response({"results": results, "request_id": context.request_id, "notice": NOTICE, "model": named})


def result(model: ServedModel, recorded: Recorded, name: str, began: float) -> dict[str, Any]:
    """Return the answer about one file of a request."""
    found: dict[str, Any] = {"file": name} if name else {}
    found |= document(model, recorded)
    if not recorded.answer.refused:
        found["explanation"] = "/v1/explain"
    found["timing"] = {**recorded.answer.milliseconds, "total": milliseconds_since(began)}
    return found


def document(model: ServedModel, recorded: Recorded) -> dict[str, Any]:
    """Return an answer as a JSON object, with the id of its event where one was recorded."""
    found = model.document(recorded.answer)
    return found if recorded.event is None else {**found, "event": recorded.event}


async def explain(request: Request) -> Response:
    """Show one file: the image as it is, the heat map over it, or the heat map alone."""
    asked = request.query_params.get("view", "overlay")
    view = next((view for view in VIEWS if view == asked), None)
    if view is None:
        raise Problem(422, "view", f"view is one of {', '.join(VIEWS)}")
    service = service_of(request)
    async with service.turn(request) as context:
        model = service.serving().model
        file = (await service.uploads.read(request, most=1))[0]
        (drawn,) = await service.compute([partial(_draw, model, file.content, view, service)])
        _note(context, model, [])
    named = {"X-Model": quote(model.name), "X-Model-Version": quote(model.version)}
    return Response(drawn, media_type="image/png", headers=named)


def _draw(model: ServedModel, content: bytes, view: View, service: Service) -> bytes:
    most = service.config.max_pixels
    if view == "image":
        try:
            return explanation.show(content, most)
        except UnreadableRadiograph:  # refused below, in the same words as everywhere
            pass
    answer = model.answer(content, "<upload>")
    if answer.refused:
        raise refusal(model, model.document(answer))
    return explanation.explain(model, content, answer, view, most)


def refusal(model: ServedModel, document: dict[str, Any]) -> Problem:
    """Return the problem of a request whose only image is refused."""
    members = {
        "reason": document["reason"],
        "checks": document["checks"],
        **({"event": document["event"]} if "event" in document else {}),
        "notice": NOTICE,
        "model": model.name,
        "version": model.version,
    }
    return Problem(422, document["code"], document["reason"], members)


def _note(context: Context, model: ServedModel, answers: list[Answer]) -> None:
    """Keep for the log which model answered, and the codes of the refusals."""
    context.fields |= {"model": model.name, "version": model.version}
    if answers:
        context.fields["images"] = len(answers)
    if codes := sorted({answer.assessment.code for answer in answers if answer.refused}):
        context.fields["refused"] = codes
