"""Clients that ask for what takes the server long, each again as soon as it is answered.

    python benchmarks/loads.py imports PORT COUNT SECONDS TOKEN
    python benchmarks/loads.py sign-ins PORT COUNT SECONDS

`imports` are of a database server that lets everybody in and then says nothing. `sign-ins` are
wrong, and each comes from another address, so that no limit of an address stops them. Prints how
many answers of each status there were.
"""

import asyncio
import contextlib
import random
import re
import sys
from collections import Counter
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import impostors

FORM = re.compile(r'name="csrf_token"[^>]* value="([^"]+)"')


async def imports(client: httpx.AsyncClient, token: str, port: int, told: Counter[str]) -> None:
    """One operator who lists the databases of a server, for ever."""
    url = f"postgresql://app:secret@127.0.0.1:{port}/x"
    body = {"project_id": 1, "server": {"url": url}}
    headers = {"Authorization": f"Bearer {token}"}
    while True:
        answer = await client.post("/api/v1/databases/import", json=body, headers=headers)
        told[str(answer.status_code)] += 1
        # Half of what it asks for, on average.
        await asyncio.sleep(float(answer.headers.get("Retry-After", 0)) * random.random())


async def sign_ins(client: httpx.AsyncClient, told: Counter[str]) -> None:
    """One who guesses passwords, for ever."""
    page = await client.get("/sign-in")
    form = {"csrf_token": FORM.findall(page.text)[0], "password": "not the password"}
    while True:
        address = ".".join(str(random.randrange(1, 255)) for _ in range(4))
        email = f"{random.randrange(10**9)}@example.org"
        answer = await client.post(
            "/sign-in",
            data=form | {"email": email},
            headers={"X-Forwarded-For": address},
            cookies=page.cookies,
        )
        told[str(answer.status_code)] += 1


async def main(kind: str, port: int, count: int, seconds: float, token: str = "") -> None:
    told: Counter[str] = Counter()
    base = f"http://127.0.0.1:{port}"
    # The server closes a connection after five seconds of silence.
    limits = httpx.Limits(keepalive_expiry=3)
    async with contextlib.AsyncExitStack() as stack:
        silent = stack.enter_context(impostors.silent())
        clients = [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=base, timeout=120, trust_env=False, limits=limits)
            )
            for _ in range(count)
        ]
        begun = [
            imports(one, token, silent.port, told) if kind == "imports" else sign_ins(one, told)
            for one in clients
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*begun)
    print(dict(told), flush=True)


if __name__ == "__main__":
    name, number, many, length, *rest = sys.argv[1:]
    asyncio.run(main(name, int(number), int(many), float(length), *rest))
