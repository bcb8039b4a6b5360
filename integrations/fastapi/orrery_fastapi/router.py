"""The router that an application includes."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Union

import httpx
from fastapi import APIRouter, Depends, params
from starlette.requests import Request
from starlette.responses import Response

from . import models
from .connection import Connection
from .relay import relay

RUN = "/api/scheduled/{run_id}"
EXECUTION = "/api/executions/{execution_id}"
BACKFILL = "/api/backfills/{backfill_id}"

# Long enough for a trigger, which waits for its run: five minutes if the run does not say otherwise.
TIMEOUT = httpx.Timeout(connect=5.0, read=330.0, write=60.0, pool=5.0)


class Call(NamedTuple):
    """One call of the API: in the application at `path` below the router's prefix, in orrery at `upstream_path`."""

    name: str
    method: str
    path: str
    upstream_path: str
    summary: str
    answer: Any
    status: int = 200
    body: Optional[type] = None
    query: Sequence[str] = ()
    headers: Sequence[str] = ()
    may_lack_body: bool = False
    asynchronous: bool = False  # may answer 202 before it is done


# Those with a word for their first part stand before those in which it is a run's id.
CALLS = (
    Call("preview_schedule", "GET", "/preview", "/api/schedule/preview", "When a schedule fires", models.Preview,
         query=("schedule", "timezone", "from", "n")),
    Call("get_execution", "GET", "/executions/{execution_id}", EXECUTION, "One execution", models.Execution),
    Call("cancel_execution", "POST", "/executions/{execution_id}/cancel", EXECUTION + "/cancel",
         "End an execution", models.Execution),
    Call("get_backfill", "GET", "/backfills/{backfill_id}", BACKFILL, "How far a backfill is", models.Backfill),
    Call("cancel_backfill", "POST", "/backfills/{backfill_id}/cancel", BACKFILL + "/cancel", "End a backfill",
         models.Backfill),
    Call("create_scheduled_run", "POST", "", "/api/scheduled", "Create a scheduled run", models.RunChanged,
         status=201, body=models.ScheduledRunCreate, headers=("Idempotency-Key",)),
    Call("list_scheduled_runs", "GET", "", "/api/scheduled", "The scheduled runs", List[models.ScheduledRun],
         query=("limit", "offset", "model_name")),
    Call("get_scheduled_run", "GET", "/{run_id}", RUN, "One scheduled run", models.ScheduledRun),
    Call("update_scheduled_run", "PUT", "/{run_id}", RUN, "Change a scheduled run", models.RunChanged,
         body=models.ScheduledRunUpdate, headers=("If-Match",)),
    Call("delete_scheduled_run", "DELETE", "/{run_id}", RUN, "Delete a scheduled run", models.RunChanged,
         headers=("If-Match",)),
    Call("trigger_scheduled_run", "POST", "/{run_id}/trigger", RUN + "/trigger", "Run it now", models.Execution,
         body=models.Trigger, headers=("Prefer", "Idempotency-Key"), may_lack_body=True,
         asynchronous=True),
    Call("list_executions", "GET", "/{run_id}/executions", RUN + "/executions", "The history of a run",
         List[models.Execution], query=("status", "since", "until", "limit", "cursor")),
    Call("pause_scheduled_run", "POST", "/{run_id}/pause", RUN + "/pause", "Hold a run", models.RunChanged,
         body=models.Note, headers=("If-Match",), may_lack_body=True),
    Call("resume_scheduled_run", "POST", "/{run_id}/resume", RUN + "/resume", "Let a run go on",
         models.RunChanged, body=models.Note, headers=("If-Match",), may_lack_body=True),
    Call("get_statistics", "GET", "/{run_id}/statistics", RUN + "/statistics", "How it went", models.Statistics),
    Call("explain_scheduled_run", "GET", "/{run_id}/explain", RUN + "/explain", "Why it ran, or did not",
         models.Explanation, query=("at",)),
    Call("create_backfill", "POST", "/{run_id}/backfills", RUN + "/backfills", "Execute past slots once more",
         models.Backfill, status=201, body=models.BackfillCreate, headers=("Idempotency-Key",)),
    Call("list_backfills", "GET", "/{run_id}/backfills", RUN + "/backfills", "The backfills of a run",
         List[models.Backfill], query=("limit", "cursor")),
)

REQUIRED_QUERY = {"schedule", "at"}
ERRORS: Dict[Union[int, str], Dict[str, Any]] = {
    status: {"model": models.Error} for status in (400, 404, 409, 412, 413, 415, 429, 500, 502, 503, 504)}


class ScheduledRouter(APIRouter):
    """A router with a connection of its own."""

    connection: Connection

    async def aclose(self) -> None:
        """Closes the connections to orrery: for an application's lifespan. They open again when they are needed."""
        await self.connection.aclose()


def scheduled_router(
    orrery: str,
    *,
    secret: Union[str, bytes],
    current_user: Union[Callable[..., Any], params.Depends],
    owner_of: Callable[[Any], str] = lambda user: user,
    is_admin: Callable[[Any], bool] = lambda user: False,
    timeout: Union[httpx.Timeout, float] = TIMEOUT,
    tags: Sequence[str] = ("scheduled runs",),
) -> ScheduledRouter:
    """A router with the whole API of scheduled runs, for `app.include_router(…, prefix="/api/scheduled")`.

    orrery: "http://127.0.0.1:8080", or "unix:/run/orrery/orrery.sock".
    secret: what orrery has in its --token-secret-file; see read_secret.
    current_user: the application's own dependency that gives the authenticated user, or refuses.
    owner_of: a user's name, stable and unique, to which the runs belong. By default the user is that name.
    is_admin: whether a user sees and changes everybody's runs. By default nobody does.
    """
    connection = Connection(orrery, secret, httpx.Timeout(timeout))
    dependency = current_user if isinstance(current_user, params.Depends) else Depends(current_user)
    router = ScheduledRouter(tags=list(tags))
    router.connection = connection
    if hasattr(router, "on_shutdown"):
        router.on_shutdown.append(connection.aclose)
    for call in CALLS:
        endpoint = endpoint_of(call, connection, dependency, owner_of, is_admin)
        router.add_api_route(
            call.path, endpoint, methods=[call.method], name=call.name, summary=call.summary,
            status_code=call.status, response_model=call.answer, openapi_extra=describe(call),
            responses={202: {"model": call.answer}, **ERRORS} if call.asynchronous else ERRORS)
        # As orrery has it: a trailing slash is the same call, and HEAD is GET without the body.
        methods = [call.method, "HEAD"] if call.method == "GET" else [call.method]
        for path in (call.path, call.path + "/"):
            router.add_api_route(path, endpoint, methods=methods, name=call.name, response_model=None,
                                 include_in_schema=False)
    return router


def endpoint_of(call: Call, connection: Connection, dependency: Any, owner_of: Callable[[Any], str],
                is_admin: Callable[[Any], bool]) -> Callable[..., Any]:
    async def endpoint(request: Request, user: Any = dependency) -> Response:
        owner = owner_of(user)
        if not isinstance(owner, str) or not owner:
            raise TypeError(f"an owner's name is text that is not empty, not this {type(owner).__name__}: "
                            "tell scheduled_router by owner_of what a user's name is")
        return await relay(connection, request, call.path, call.upstream_path, owner, bool(is_admin(user)))

    return endpoint


def describe(call: Call) -> Dict[str, Any]:
    """What the OpenAPI page shows of a request. It is not declared to FastAPI itself, so that a body streams
    through as it is, and orrery alone says what is wrong with it."""
    words = [part[1:-1] for part in call.path.split("/") if part.startswith("{")]
    listed = [(word, "path", True) for word in words]
    listed += [(word, "query", word in REQUIRED_QUERY) for word in call.query]
    listed += [(word, "header", False) for word in call.headers]
    extra: Dict[str, Any] = {"parameters": [
        {"name": word, "in": place, "required": required, "schema": {"type": "string"}}
        for word, place, required in listed]}
    if call.body is not None:
        extra["requestBody"] = {
            "required": not call.may_lack_body,
            "content": {"application/json": {"schema": models.schema_of(call.body)}}}
    return extra
