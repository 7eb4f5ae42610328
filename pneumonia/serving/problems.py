"""Describe errors as problem documents (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

RETRY_AFTER = 1
"""Seconds after which a refused request may be tried again: an image takes a fraction of that."""


class Problem(Exception):
    """An error that ends a request.

    Attributes:
        status: of HTTP.
        code: machine-readable name of the kind of error; its `type` is ``urn:pneumonia:problem:<code>``.
        detail: what is wrong and what to do, in words.
        members: further members of the document.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, code, detail)
        self.status, self.code, self.detail = status, code, detail
        self.members = dict(members or {})
        self.headers = dict(headers or {})

    def document(self, request_id: str) -> dict[str, Any]:
        """Return the problem document."""
        return {
            "type": f"urn:pneumonia:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.members,
            "request_id": request_id,
        }


def unavailable(code: str, detail: str, retry_after: int = RETRY_AFTER) -> Problem:
    """Return the problem of a service that cannot answer now, with the time to wait."""
    return Problem(503, code, detail, headers={"Retry-After": str(retry_after)})


def json_response(
    document: Any, status: int = 200, media_type: str = "application/json", headers: Mapping[str, str] | None = None
) -> Response:
    """Return a JSON document as an answer."""
    content = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(
        "utf-8", "replace"
    )
    return Response(content, status, dict(headers or {}), media_type)


def problem_response(problem: Problem, request_id: str, *, open_inference: bool = False) -> Response:
    """Return a problem as an answer; in the form of the Open Inference Protocol for its routes."""
    if open_inference:
        return json_response({"error": problem.detail}, problem.status, headers=problem.headers)
    return json_response(
        problem.document(request_id), problem.status, "application/problem+json", headers=problem.headers
    )
