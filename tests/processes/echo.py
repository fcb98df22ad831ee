"""A WSGI app that shows what a server does with it."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

RUNNING = {"streams": 0}


def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """What the path says, with the number that follows it."""
    _, name, *rest = environ["PATH_INFO"].split("/")
    number = float(rest[0]) if rest else 0.0
    size = {"file": Path(__file__).stat().st_size, "large": int(number), "breaks": 1000}
    if name in ANSWERS:
        start("200 OK", [("Content-Length", str(size[name]))] if name in size else [])
        return ANSWERS[name](number, environ["wsgi.file_wrapper"])
    if name == "sleep":
        time.sleep(number)
    said = b"" if name == "unread" else environ["wsgi.input"].read()
    found = {
        "method": environ["REQUEST_METHOD"],
        "path": environ["PATH_INFO"],
        "scheme": environ["wsgi.url_scheme"],
        "client": environ["REMOTE_ADDR"],
        "length": len(said),
        "sum": sum(said),
        "said": said[:50].decode("latin-1"),
        **RUNNING,
    }
    text = json.dumps(found).encode()
    start("200 OK", [("Content-Length", str(len(text))), ("Content-Type", "application/json")])
    return [text]


def file(_: float, wrapper: Any) -> Any:
    return wrapper(Path(__file__).open("rb"))


def stream(pause: float, _: Any) -> Iterator[bytes]:
    RUNNING["streams"] += 1
    try:
        for number in range(1000):
            yield f"data: {number}\n\n".encode()
            time.sleep(pause)
    finally:
        RUNNING["streams"] -= 1


def breaking(*_: Any) -> Iterator[bytes]:
    yield b"begun"
    raise RuntimeError("in the middle")


ANSWERS: dict[str, Callable[[float, Any], Iterable[bytes]]] = {
    "file": file,
    "file-in-chunks": file,
    "stream": stream,
    "breaks": breaking,
    "large": lambda size, _: [b"x" * int(size)],
    "parts": lambda count, _: (b"x" * 100_000 for _ in range(int(count))),
}
