"""The shapes of requests and answers, for the OpenAPI page. orrery itself checks what comes and says what is wrong.

They work with pydantic 1 and 2. What they mean is told in orrery's docs/http.md.
"""

from datetime import datetime
from typing import Any, Dict, List, Optional

import pydantic
from pydantic import BaseModel, Field

PYDANTIC_2 = pydantic.VERSION.split(".")[0] != "1"


class Model(BaseModel):
    if PYDANTIC_2:
        # "model_name" and the like are no business of pydantic's.
        model_config = {"protected_namespaces": ()}


def schema_of(model: "type[Model]") -> Dict[str, Any]:
    """The model's JSON schema, with what it refers to put in its place."""
    if issubclass(model, ScheduledRunUpdate):
        return without_defaults(full_schema_of(model))
    return full_schema_of(model)


def without_defaults(schema: Any) -> Any:
    """For a change: what is absent stays as it is."""
    if isinstance(schema, dict):
        return {name: without_defaults(value) for name, value in schema.items() if name != "default"}
    return [without_defaults(item) for item in schema] if isinstance(schema, list) else schema


def full_schema_of(model: "type[Model]") -> Dict[str, Any]:
    schema = getattr(model, "model_json_schema")() if PYDANTIC_2 else model.schema()
    parts = schema.get("$defs") or schema.get("definitions") or {}

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return resolve(parts[node["$ref"].rsplit("/", 1)[1]])
            return {name: resolve(value) for name, value in node.items() if value is not parts}
        return [resolve(item) for item in node] if isinstance(node, list) else node

    return resolve(schema)


class Retry(Model):
    """Further attempts after the first."""

    max_attempts: int = 1
    backoff: str = "1s"
    max_backoff: str = "10m"
    non_retryable: List[str] = Field(default=[], description="error types after which there is no further attempt")


class RunFields(Model):
    parameters: Optional[Any] = Field(default=None, description="what the model gets")
    enabled: bool = True
    timezone: str = Field(default="UTC", description="an IANA name")
    name: Optional[str] = None
    description: Optional[str] = None
    note: Optional[str] = None
    start_at: Optional[datetime] = None
    end_at: Optional[datetime] = None
    jitter: str = "0s"
    overlap: str = Field(default="skip", description="skip, queue_one, queue_all, cancel_running or allow")
    catchup: str = Field(default="latest", description="latest, all or none")
    catchup_window: str = "1h"
    dst_missing: str = Field(default="shift", description="shift or skip")
    dst_repeated: str = Field(default="first", description="first, last or both")
    timeout: str = "5m"
    retry: Retry = Retry()
    model_version: Optional[int] = Field(default=None, description="null: the newest")
    priority: int = Field(default=5, description="0 to 9; higher goes first where slots wait for room")


class ScheduledRunCreate(RunFields):
    """A run to be scheduled."""

    model_name: str
    schedule: str = Field(description="a cron expression, @every or a nickname")


class ScheduledRunUpdate(RunFields):
    """What is to change; what is absent stays."""

    model_name: Optional[str] = None
    schedule: Optional[str] = None


class ScheduledRun(ScheduledRunCreate):
    run_id: str
    last_run: Optional[datetime] = None
    next_run: Optional[datetime] = None
    created_at: datetime
    updated_at: datetime
    paused_at: Optional[datetime] = None
    next_runs: Optional[List[datetime]] = None


class RunChanged(Model):
    run_id: str
    message: str
    schedule_details: Optional[ScheduledRun] = None


class Note(Model):
    note: Optional[str] = None


class Trigger(Model):
    parameters: Optional[Any] = Field(default=None, description="for this once, instead of the run's")


class Gap(Model):
    """The slots of one record of what was missed."""

    from_: datetime = Field(alias="from")
    to: datetime
    count: int


class Execution(Model):
    """One firing: what became of a slot, a trigger or a retry."""

    execution_id: str
    run_id: str
    model_name: str
    model_version: Optional[int] = None
    model_digest: Optional[str] = None
    trigger: str
    attempt: int
    status: str
    scheduled_for: Optional[datetime] = None
    queued_at: Optional[datetime] = None
    started_at: Optional[datetime] = None
    finished_at: Optional[datetime] = None
    duration_ms: Optional[float] = None
    result: Optional[Any] = Field(default=None, description="what the model answered; in a list, null if it is large")
    result_bytes: Optional[int] = Field(default=None, description="of a large result, which GET /executions/… gives")
    result_url: Optional[str] = Field(default=None, description="of a large result, at orrery itself")
    error: Optional[Dict[str, Any]] = None
    gap: Optional[Gap] = None
    backfill_id: Optional[str] = None


class Statistics(Model):
    run_id: str
    counts: Dict[str, int]
    executions: int
    duration_ms: float
    mean_duration_ms: Optional[float] = None
    missed_slots: int
    removed: int


class BackfillCreate(Model):
    """The slots in [from, to), to be executed once more."""

    from_: datetime = Field(alias="from")
    to: datetime
    parallelism: int = 1
    parameters: Optional[Any] = None


class Backfill(Model):
    backfill_id: str
    run_id: str
    from_: datetime = Field(alias="from")
    to: datetime
    parallelism: int
    status: str
    slot_count: int
    recorded: int
    counts: Dict[str, int]
    next_slot: Optional[datetime] = None
    created_at: datetime
    cancelled_at: Optional[datetime] = None


class Preview(Model):
    schedule: str
    timezone: str
    description: str
    local_times: List[str]
    fire_times: List[datetime]
    warnings: List[Any]


class Explanation(Model):
    run_id: str
    at: datetime
    local_time: str
    schedule: str
    timezone: str
    tzdata_version: str
    is_slot: bool
    matches_schedule: bool
    within_bounds: bool
    enabled: bool
    previous_slot: Optional[datetime] = None
    next_slot: Optional[datetime] = None
    jitter: str
    due_at: Optional[datetime] = None
    overlap: str
    execution: Optional[Execution] = None
    explanation: List[str]


class Error(Model):
    error: str
    message: str
    status_code: int
    correlation_id: str
    details: Optional[List[Dict[str, Any]]] = None
