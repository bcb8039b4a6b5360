"""Scheduled model runs inside a FastAPI application: its users, its paths; orrery does the work."""

from .connection import read_secret
from .router import ScheduledRouter, scheduled_router

__all__ = ["ScheduledRouter", "read_secret", "scheduled_router"]
__version__ = "0.1.0"
