"""The same program without `headway boot`: its lifespan brings the database to head.

The port answers nothing meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from main import app, database, engine

from headway.boot import bring_to_head


@asynccontextmanager
async def at_head(_: FastAPI) -> AsyncIterator[None]:
    await asyncio.to_thread(bring_to_head, database.project, engine)
    yield


app.router.lifespan_context = at_head
