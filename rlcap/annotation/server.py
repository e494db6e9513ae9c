"""The page and its three requests on 127.0.0.1, to the holder of the address alone.

Another page in the same browser can send requests here but neither guess the token in the path nor forge ``Origin``
and ``Host``; a host name that is made to point to 127.0.0.1 shows in ``Host``.
"""

import json
import logging
import re
import secrets
import socketserver
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

from PIL import Image

from rlcap.annotation.images import Open, as_jpeg
from rlcap.annotation.session import ANSWERS, Session
from rlcap.annotation.store import JudgedAlreadyError
from rlcap.errors import UserError

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
PAGES = {
    "": ("page.html", "text/html; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# Any port: a tunnel to another machine has one of its own.
_OWN_HOST = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?")
_LONGEST_BODY = 4096
_LONGEST_LOOK = 86_400.0


class Server(ThreadingHTTPServer):
    """Serves the page of a session under an address that cannot be guessed.

    Args:
        session: what is asked.
        images: what opens the images that can be shown, by id.
        port: 0 takes a free one.

    Raises:
        UserError: if the port cannot be had.
    """

    daemon_threads = True

    def __init__(self, session: Session, images: Mapping[str, Open], port: int = 0) -> None:
        self.session = session
        self.images = images
        self.token = secrets.token_urlsafe(16)
        package = files("rlcap.annotation")
        self.pages = {path: (package.joinpath(name).read_bytes(), kind) for path, (name, kind) in PAGES.items()}
        if not 0 <= port <= 65535:
            raise UserError(f"--port must be between 0 (a free one) and 65535, got {port}")
        try:
            super().__init__((HOST, port), Handler)
        except OSError as error:
            raise UserError(f"cannot use port {port}: {error.strerror}: leave --port out for a free one") from error

    def server_bind(self) -> None:
        """Bind without asking the network for the name of this machine."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that hangs up is no error; anything else is a bug."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            logger.exception("a request failed")


class Handler(BaseHTTPRequestHandler):
    """One connection of a browser."""

    server: Server
    server_version = "rlcap"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """The page, its style and script, or an image of the table."""
        name = self._name()
        if name is None:
            return
        if name in self.server.pages:
            self._send(HTTPStatus.OK, *self.server.pages[name])
        elif re.fullmatch(r"image/\d{1,9}", name):
            self._send_image(int(name.removeprefix("image/")))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")

    def do_POST(self) -> None:
        """What the page asks or answers; JSON both ways."""
        name = self._name()
        if name is None:
            return None
        if self.headers["Origin"] != f"http://{self.headers['Host']}":
            return self._refuse(HTTPStatus.FORBIDDEN, "only the page itself may send judgements")
        if self.headers.get_content_type() != "application/json":
            return self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON")
        length = self.headers["Content-Length"] or ""
        if not length.isdecimal() or not length.isascii() or int(length) > _LONGEST_BODY:
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"send at most {_LONGEST_BODY} bytes, and say so")
        try:
            asked = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict) or name not in ("state", "answer", "undo") or not self._valid(name, asked):
            return self._refuse(HTTPStatus.BAD_REQUEST, "this is no request of the page: reload it")
        return self._reply(name, asked)

    def _reply(self, name: str, asked: Mapping[str, Any]) -> None:
        session, tab = self.server.session, asked["tab"]
        status, told = HTTPStatus.OK, ""
        try:
            if name == "answer":
                state = session.answer(tab, asked["number"], asked["answer"], float(asked["seconds"]))
            elif name == "undo":
                state = session.undo(tab, asked["number"])
            else:
                state = session.state(tab)
        except UserError as error:
            status = HTTPStatus.CONFLICT if isinstance(error, JudgedAlreadyError) else HTTPStatus.INTERNAL_SERVER_ERROR
            told, state = str(error), session.state_as_known(tab)
        body = json.dumps({"error": told, "state": state}).encode()
        self._send(status, body, "application/json")

    def _valid(self, name: str, asked: Mapping[str, Any]) -> bool:
        tab, number, seconds = asked.get("tab"), asked.get("number"), asked.get("seconds")
        if not isinstance(tab, str) or not 0 < len(tab) <= 64:
            return False
        if name == "state":
            return True
        known = len(self.server.session.questions.asked)
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < known:
            return False
        if name == "undo":
            return True
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds <= _LONGEST_LOOK:
            return False
        return asked.get("answer") in ANSWERS

    def _name(self) -> str | None:
        """What is asked for under the token; None, once refused, where host or token are not ours."""
        if not _OWN_HOST.fullmatch(self.headers["Host"] or ""):
            self._refuse(HTTPStatus.FORBIDDEN, f"this server is only asked as {HOST} or localhost")
            return None
        _, token, *rest = self.path.partition("?")[0].split("/")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()) or not rest:
            self._refuse(HTTPStatus.NOT_FOUND, "open the whole address that rlcap annotate printed")
            return None
        return "/".join(rest)

    def _send_image(self, number: int) -> None:
        questions = self.server.session.questions.asked
        image = questions[number].image if number < len(questions) else None
        opened = self.server.images.get(image) if image is not None else None
        if opened is None:
            return self._refuse(HTTPStatus.NOT_FOUND, "there is no such image")
        try:
            content = as_jpeg(opened())
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            logger.warning("cannot show image %s: %s", image, error)
            return self._refuse(HTTPStatus.NOT_FOUND, "this image cannot be read")
        return self._send(HTTPStatus.OK, content, "image/jpeg")

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True  # what else was sent stays unread
        self._send(status, f"{why}\n".encode(), "text/plain; charset=utf-8")

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *values: Any) -> None:  # noqa: A002
        """Requests are not worth a line each."""
        logger.debug(format, *values)
