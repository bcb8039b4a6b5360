"""The way to orrery: tokens for the application's users, and connections that are used again."""

from __future__ import annotations

import asyncio
import pathlib
import time
import weakref
from typing import AsyncIterator, Dict, Optional, Union

import httpx
import jwt

SECRET_BYTES_MINIMUM = 32
TOKEN_LIFETIME_S = 60
# orrery closes a connection on which nothing happens for a minute; this end gives it up before that.
KEEPALIVE_S = 30
UNIX_PREFIX = "unix:"
# What Linux takes whole or not at all where it is written to a Unix socket that must not block.
PIECE_BYTES = 16384


def read_secret(path: Union[str, pathlib.Path]) -> bytes:
    """The secret in a file, as orrery reads its own: all bytes but one line break at the end."""
    secret = pathlib.Path(path).read_bytes()
    if secret.endswith(b"\n"):
        secret = secret[:-1]
        if secret.endswith(b"\r"):
            secret = secret[:-1]
    return secret


async def in_pieces(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes, few at a time. anyio 3 (Debian 12 has 3.6.2) goes on with the wrong ones after a Unix socket has
    taken a part of what it was given: UNIXSocketStream.send in its asyncio backend."""
    async for chunk in content:
        for start in range(0, len(chunk), PIECE_BYTES):
            yield chunk[start:start + PIECE_BYTES]


class Connection:
    """An orrery server, at "http://host:port" or "unix:/path/to/socket"."""

    def __init__(self, address: str, secret: Union[str, bytes], timeout: httpx.Timeout) -> None:
        secret = secret.encode() if isinstance(secret, str) else secret
        if len(secret) < SECRET_BYTES_MINIMUM:
            raise ValueError(f"the secret must have at least {SECRET_BYTES_MINIMUM} bytes")
        self._secret = secret
        self._timeout = timeout
        self._socket = address[len(UNIX_PREFIX):] if address.startswith(UNIX_PREFIX) else None
        self._url = httpx.URL("http://orrery" if self._socket else address)
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise ValueError(f"not an orrery address: {address!r}; it is like http://127.0.0.1:8080 "
                             "or unix:/run/orrery/orrery.sock")
        # A client belongs to the event loop that its connections were made in; a server has one loop, tests have many.
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = (
            weakref.WeakKeyDictionary())

    def token(self, owner: str, admin: bool) -> str:
        """A signed token by which orrery knows this owner, for the next minute."""
        now = int(time.time())
        claims = {"sub": owner, "aud": "orrery", "iat": now, "exp": now + TOKEN_LIFETIME_S}
        if admin:
            claims["admin"] = True
        return jwt.encode(claims, self._secret, algorithm="HS256")  # type: ignore[arg-type]  # bytes, too

    def _client(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=64,
                                  keepalive_expiry=KEEPALIVE_S)
            # Neither proxies nor certificates from the environment: this is a neighbour.
            transport = httpx.AsyncHTTPTransport(uds=self._socket, limits=limits, trust_env=False)
            client = httpx.AsyncClient(transport=transport, timeout=self._timeout, trust_env=False)
            self._clients[loop] = client
        return client

    async def send(self, method: str, target: bytes, headers: Dict[bytes, bytes],
                   content: Optional[AsyncIterator[bytes]]) -> httpx.Response:
        """Sends a request; the answer's header is there when it returns, its body is to be streamed."""
        client = self._client()
        if content is not None and self._socket:
            content = in_pieces(content)
        url = self._url.copy_with(raw_path=target)
        request = client.build_request(method, url, headers=headers, content=content)
        return await client.send(request, stream=True)

    async def aclose(self) -> None:
        """Closes this event loop's connections; they are opened anew when they are needed."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()
