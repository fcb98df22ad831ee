"""A FastAPI program whose database is at head before uvicorn starts: see README.md."""

import os
from pathlib import Path

from fastapi import FastAPI, Response
from sqlalchemy import create_engine, text

from headway import Project
from headway.boot.readiness import readiness

HERE = Path(__file__).parent
engine = create_engine(os.environ.get("HEADWAY_MIGRATE_URL", f"sqlite:///{HERE / 'shop.db'}"))
database = Project.load(HERE / "migrations").at(engine)
app = FastAPI()


@app.get("/")
def items() -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT name FROM item ORDER BY id")))


@app.get("/healthz")
def healthz() -> dict[str, str]:
    return {"state": "alive"}


@app.get("/readyz")
def readyz(response: Response) -> dict[str, object]:
    ready, body = readiness(database)
    response.status_code = 200 if ready else 503
    return body
