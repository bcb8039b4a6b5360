"""One request of the application's client, handed on to orrery, and its answer, handed back."""

from __future__ import annotations

import logging
import re
import string
import uuid
from typing import Dict, Optional
from urllib.parse import quote

import anyio
import httpx
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from .connection import Connection

RETRY_AFTER_S = 2

# What a client says to orrery. Credentials and cookies are the application's and stay there.
REQUEST_HEADERS = ("accept", "accept-encoding", "content-encoding", "content-length", "content-type",
                   "idempotency-key", "if-match", "if-none-match", "prefer", "traceparent", "tracestate")
# What belongs to one connection (RFC 9110 section 7.6.1), or to the one server that the client sees.
KEPT_BACK = {"connection", "date", "keep-alive", "proxy-authenticate", "server", "te", "trailer",
             "transfer-encoding", "upgrade", "www-authenticate"}
SAFE_CORRELATION_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
QUERY_CHARACTERS = string.punctuation.replace("#", "")

# Where orrery's own paths are found in the application, below the router's prefix.
PLACES = (("/api/scheduled", ""), ("/api/executions", "/executions"), ("/api/backfills", "/backfills"),
          ("/api/schedule/preview", "/preview"))

logger = logging.getLogger("orrery_fastapi")


class Relayed(StreamingResponse):
    """orrery's answer, streamed; its connection is given back whatever becomes of the client."""

    def __init__(self, upstream: httpx.Response, mount: str) -> None:
        super().__init__(upstream.aiter_raw(), status_code=upstream.status_code)
        self._upstream = upstream
        self.raw_headers = [(name.lower(), to_application(name.lower(), value, mount))
                            for name, value in upstream.headers.raw
                            if name.lower().decode("latin-1") not in KEPT_BACK]

    async def __call__(self, scope, receive, send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except httpx.TransportError as error:
            # The beginning is with the client. Only an exception makes every server break off, too, and not end well
            # an answer that is not whole.
            logger.warning("orrery broke off its answer to %s: %s", scope["path"], error or type(error).__name__)
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await self._upstream.aclose()


def path_in_application(path: str, mount: str) -> str:
    """Where the application has what orrery has at this path."""
    for theirs, ours in PLACES:
        rest = path[len(theirs):]
        if path.startswith(theirs) and (not rest or rest[0] in "/?"):
            return mount + ours + rest
    return path


def to_application(name: bytes, value: bytes, mount: str) -> bytes:
    """A header's value, in which what names a path of orrery's names the application's."""
    if name == b"location":
        return path_in_application(value.decode("latin-1"), mount).encode("latin-1")
    if name == b"link":
        return re.sub(r"<(/[^>]*)>", lambda link: f"<{path_in_application(link[1], mount)}>",
                      value.decode("latin-1")).encode("latin-1")
    return value


def mount_of(request: Request, path: str) -> str:
    """The path, as the client sees it, under which the router was included: what its own part leaves."""
    whole = quote(request.url.path, safe="/%:@!$&'()*+,;=~").rstrip("/")
    return whole.rsplit("/", path.count("/"))[0]


def failure(status: int, name: str, message: str, correlation_id: str,
            retry_after_s: Optional[int] = None) -> Response:
    """An error in the form of orrery's own (docs/http.md)."""
    headers = {"X-Correlation-ID": correlation_id}
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
    return JSONResponse({"error": name, "message": message, "status_code": status,
                         "correlation_id": correlation_id}, status_code=status, headers=headers)


def request_headers(request: Request, correlation_id: str, token: str) -> Dict[bytes, bytes]:
    headers = {name: ", ".join(request.headers.getlist(name))
               for name in REQUEST_HEADERS if name in request.headers}
    headers.setdefault("accept-encoding", "identity")
    headers["x-correlation-id"] = correlation_id
    headers["authorization"] = "Bearer " + token
    # As bytes, which are the client's own: httpx takes text that is ASCII only.
    return {name.encode("ascii"): value.encode("latin-1") for name, value in headers.items()}


async def relay(connection: Connection, request: Request, path: str, upstream_path: str, owner: str,
                admin: bool) -> Response:
    """Asks orrery at `upstream_path` for this owner. `path` is the route's, without the router's prefix."""
    correlation_id = request.headers.get("x-correlation-id", "")
    if not SAFE_CORRELATION_ID.fullmatch(correlation_id):
        correlation_id = uuid.uuid4().hex
    arguments = {name: quote(str(value), safe="") for name, value in request.path_params.items()}
    target = upstream_path.format_map(arguments)
    query = request.scope.get("query_string", b"")
    if query:
        target += "?" + quote(query, safe=QUERY_CHARACTERS)
    headers = request_headers(request, correlation_id, connection.token(owner, admin))
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    try:
        upstream = await connection.send(request.method, target.encode("ascii"), headers,
                                         request.stream() if has_body else None)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        logger.warning("orrery cannot be reached: %s", error or type(error).__name__)
        return failure(503, "ServiceUnavailable", "the scheduler cannot be reached", correlation_id,
                       RETRY_AFTER_S)
    except httpx.TimeoutException:
        return failure(504, "TimedOut", "the scheduler did not answer in time", correlation_id)
    except httpx.TransportError as error:
        logger.warning("orrery broke off %s %s: %s", request.method, upstream_path,
                       error or type(error).__name__)
        return failure(502, "BadGateway", "the scheduler broke off; it may or may not have done what it was "
                       "asked", correlation_id)
    except ClientDisconnect:
        return failure(400, "MalformedRequest", "the client broke off", correlation_id)
    if upstream.status_code == 401:
        # The user is known: it is the application that is not. Its client must not be sent to log in again.
        reason = (await upstream.aread()).decode("utf-8", "replace")
        await upstream.aclose()
        logger.error("orrery does not take this application's tokens: %s", reason[:500])
        return failure(500, "InternalError", "something went wrong inside; the log tells what", correlation_id)
    return Relayed(upstream, mount_of(request, path))
