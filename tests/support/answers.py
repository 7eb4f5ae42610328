"""A server on this machine that is not what was expected there."""

from __future__ import annotations

from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import MappingProxyType


class Answer:
    """A server that is no MLflow server: it says the same to everyone."""

    def __init__(self, status: int, body: str, paths: Mapping[str, str] = MappingProxyType({})) -> None:
        """Begin to answer; `paths` holds other bodies for some paths."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if "Authorization" not in self.headers else 200)
                known = "Authorization" in self.headers
                text = '{"experiments": []}' if known else paths.get(self.path.partition("?")[0], body)
                content = text.encode()
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
