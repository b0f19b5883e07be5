"""Servers of hostile images: each answers on an address of its own and counts what it was asked."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class HostileServer:
    """Answers by path: /redirect?to=URL, /endless, /huge (a length of 1 GiB), /slow, /page, and /image.

    Attributes:
        asked: the paths that were requested.
        sent: bytes of endless answers that were sent.
    """

    def __init__(self, address: str, image: bytes = b""):
        self.asked: list[str] = []
        self.sent = 0
        self._server = ThreadingHTTPServer((address, 0), _handler(self, image))
        self._server.daemon_threads = True
        self.url = f"http://{address}:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(server: HostileServer, image: bytes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            """Nothing on standard error."""

        def do_GET(self) -> None:
            server.asked.append(self.path)
            kind, _, target = self.path.partition("?to=")
            if kind == "/redirect":
                self.send_response(302)
                self.send_header("Location", target)
                self.end_headers()
                return
            self.send_response(200)
            if kind == "/huge":
                self.send_header("Content-Length", str(2**30))
            self.end_headers()
            try:
                if kind in ("/endless", "/huge"):
                    while True:
                        self.wfile.write(b"\x89PNG" * 16_384)
                        server.sent += 65_536
                elif kind == "/slow":
                    while True:
                        self.wfile.write(b"x")
                        time.sleep(0.1)
                else:
                    self.wfile.write(image if kind == "/image" else b"<html>no image</html>")
            except OSError:
                pass

    return Handler
