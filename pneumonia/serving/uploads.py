"""Read the files of a request, within the limits, into memory alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from pneumonia.config.service import ServingConfig
from pneumonia.serving.problems import Problem, unavailable

MIB = 2**20
FIELD = "files"
RAW = ("image/", "application/dicom", "application/octet-stream")
"""Starts of the content types of a body that is one file; what it is, is found by its content."""
BODIES = 4
"""Largest bodies that are held in memory at a time, all requests together."""
MAX_NAME = 255


@dataclass
class Upload:
    """A file of a request.

    Attributes:
        content: its bytes.
        name: as the client gave it, printable; empty for a raw body. Never logged.
    """

    content: bytes
    name: str = ""


@dataclass
class Uploads:
    """Reads bodies; one for the whole service, because it bounds all of them together.

    Attributes:
        config: its limits.
        held: bytes of all bodies that are being read or computed.
    """

    config: ServingConfig
    held: int = field(default=0)

    async def read(self, request: Request, most: int | None = None) -> list[Upload]:
        """Return the files of a request.

        Args:
            request: multipart with the field `files`, or one file as it is.
            most: files that are allowed; None: as configured.

        Raises:
            Problem: 413 where a limit is exceeded, 415 or 422 where the form is another, 503 where too much is held.
        """
        kind, options = parse_options_header(request.headers.get("content-type"))
        media = kind.decode("latin-1").lower()
        most = self.config.max_files if most is None else most
        if media == "multipart/form-data":
            return await self._multipart(request, options.get(b"boundary", b""), most)
        if media and not media.startswith(RAW):
            raise Problem(
                415,
                "media_type",
                f"send multipart/form-data with the field {FIELD}, or one file with its content type: image/jpeg, "
                "image/png, application/dicom or application/octet-stream",
                headers={"Accept": f"multipart/form-data, image/jpeg, image/png, {RAW[1]}, {RAW[2]}"},
            )
        return [Upload(b"".join([chunk async for chunk in self.stream(request)]))]

    async def stream(self, request: Request) -> AsyncIterator[bytes]:
        """Yield a body in pieces, within the limits; what it holds is given back by `release`.

        Raises:
            Problem: 413 where it is too large, as soon as that is known; 503 where too much is held already.
        """
        limit = self.config.max_body * MIB
        if encoding := request.headers.get("content-encoding", "").strip().lower():
            raise Problem(415, "content_encoding", f"send the body as it is, without Content-Encoding: {encoding[:20]}")
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise self._too_large()
        size = 0
        try:
            async for chunk in request.stream():
                size += len(chunk)
                self._hold(request, len(chunk))
                if size > limit:
                    raise self._too_large()
                yield chunk
        except ClientDisconnect:
            raise Problem(400, "incomplete", "the connection was closed before the body's end") from None

    def _hold(self, request: Request, size: int) -> None:
        if self.held + size > BODIES * self.config.max_body * MIB:
            raise unavailable("overloaded", "too many large uploads at a time; try again after the time in Retry-After")
        self.held += size
        request.scope["held"] = request.scope.get("held", 0) + size

    def release(self, request: Request) -> None:
        """Give back what a request's body held."""
        self.held -= request.scope.pop("held", 0)

    def _too_large(self) -> Problem:
        return Problem(
            413, "body_too_large", f"the body is larger than {self.config.max_body} MiB (serving.max_body); send less"
        )

    async def _multipart(self, request: Request, boundary: bytes, most: int) -> list[Upload]:
        form = _Form(most)
        try:
            parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
            async for chunk in self.stream(request):
                parser.write(chunk)
            parser.finalize()
        except FormParserError:
            raise _damaged() from None
        if not form.ended:
            raise _damaged()
        if not form.files:
            raise Problem(422, "no_file", f"the form holds no file; name the field {FIELD}")
        return form.files


def _damaged() -> Problem:
    return Problem(400, "multipart_damaged", "the body is no complete multipart form; send it again")


class _Form:
    """What the parser of a multipart form reports, piece by piece."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.files: list[Upload] = []
        self.ended = False
        self._pieces: list[bytes] = []
        self._header = (bytearray(), bytearray())
        self._name = ""

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._start_content,
            "on_part_data": lambda data, start, end: self._pieces.append(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._pieces, self._disposition = [], b""

    def _end_header(self) -> None:
        name, value = (bytes(part) for part in self._header)
        if name.lower() == b"content-disposition":
            self._disposition = value
        for part in self._header:
            part.clear()

    def _start_content(self) -> None:
        _, options = parse_options_header(self._disposition)
        if options.get(b"name", b"").decode("utf-8", "replace") != FIELD:
            raise Problem(422, "unknown_field", f"the form has a field of another name than {FIELD}")
        if len(self.files) == self.most:
            raise Problem(
                422, "too_many_files", f"the request holds more files than {self.most}; send several requests"
            )
        self._name = _printable(options.get(b"filename", b""))

    def _end(self) -> None:
        self.files.append(Upload(b"".join(self._pieces), self._name))
        self._pieces = []

    def _finish(self) -> None:
        self.ended = True


def _printable(name: bytes) -> str:
    text = name.decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:MAX_NAME]
