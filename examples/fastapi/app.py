"""An application with users and a model of its own, in which orrery does the scheduling.

    ORRERY=http://127.0.0.1:8080 ORRERY_TOKEN_SECRET_FILE=secret uvicorn app:app

A user says who he is as in any other application (here by a token of his, for the sake of the example); his scheduled
runs are at /api/scheduled, and at /docs is the page that shows them all.
"""

import hmac
import math
import os
from typing import List

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from orrery_fastapi import read_secret, scheduled_router

app = FastAPI(title="Churn")

# --- users: in place of the application's own --------------------------------------------------------

USERS = {"alice": "alice-says-hello", "bob": "bob-says-hello"}
bearer = HTTPBearer()


def current_user(credentials: HTTPAuthorizationCredentials = Depends(bearer)) -> str:
    given = credentials.credentials.encode()
    for name, token in USERS.items():
        if hmac.compare_digest(given, token.encode()):
            return name
    raise HTTPException(401, "nobody has this token", {"WWW-Authenticate": "Bearer"})


# --- a model: the chance that a customer leaves -------------------------------------------------------


class Customers(BaseModel):
    """A row a customer: years with us, complaints in the last year."""

    data: List[List[float]]


@app.post("/predict/churn")
def predict_churn(customers: Customers):
    if any(len(row) != 2 for row in customers.data):
        raise HTTPException(422, "a row has two numbers: years, complaints")
    return {"prediction": [1 / (1 + math.exp(0.8 * years - 1.1 * complaints + 0.3))
                           for years, complaints in customers.data]}


# --- scheduled runs ------------------------------------------------------------------------------------

app.include_router(
    scheduled_router(os.environ.get("ORRERY", "http://127.0.0.1:8080"),
                     secret=read_secret(os.environ["ORRERY_TOKEN_SECRET_FILE"]), current_user=current_user),
    prefix="/api/scheduled")
