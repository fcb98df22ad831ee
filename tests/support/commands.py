"""`flask` and `headway` for a shell's script, which need not import: see `tests/support/forks.py`.

In a folder that comes first in PATH are programs of these names. Each hands its arguments, folder,
environment and standard files to the process of the test, which runs the installed program with
them as its own child, and ends as that ended.
"""

import json
import os
import select
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

BIN = Path(sys.executable).parent
NAMES = ("flask", "headway")
PROGRAM = f"""#!{sys.executable} -IS
import json, os, signal, socket, sys
asks = socket.socket(socket.AF_UNIX)
asks.connect(os.path.join(os.path.dirname(__file__), "socket"))
socket.send_fds(asks, [b" "], [0, 1, 2])
name = os.path.basename(__file__)
asks.sendall(json.dumps([name, *sys.argv[1:]]).encode() + b"\\n")
asks.sendall(json.dumps([os.getcwd(), dict(os.environ)]).encode() + b"\\n")
code = int(asks.recv(20))
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


class _Asked(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        _, files, _, _ = socket.recv_fds(self.request, 1, 3)
        with self.request.makefile() as asked:
            (name, *arguments), (folder, environment) = map(json.loads, (next(asked), next(asked)))
        try:
            process = subprocess.Popen(
                [str(BIN / name), *arguments],
                cwd=folder,
                env=environment,
                stdin=files[0],
                stdout=files[1],
                stderr=files[2],
            )
        finally:
            for file in files:  # whoever reads at the other end waits until all have closed it
                os.close(file)
        while process.poll() is None:
            if select.select([self.request], [], [], 0.01)[0]:
                process.terminate()  # as the one that asked was, by a signal
                process.wait()
                return
        self.request.sendall(str(process.returncode).encode())


@contextmanager
def commands_to_fork(path: str) -> Iterator[str]:
    """This PATH, with a folder in front whose `flask` and `headway` are forked."""
    # The name of a socket is a short one.
    with tempfile.TemporaryDirectory(prefix="headway-") as folder:
        for name in NAMES:
            program = Path(folder, name)
            program.write_text(PROGRAM)
            program.chmod(0o755)
        with socketserver.ThreadingUnixStreamServer(f"{folder}/socket", _Asked) as server:
            threading.Thread(target=server.serve_forever, args=(0.05,)).start()
            try:
                yield f"{folder}{os.pathsep}{path}"
            finally:
                server.shutdown()


def run_forking(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    seconds: float | None = None,
) -> "subprocess.CompletedProcess[str]":
    """A program, to its end, whose `flask` and `headway` are forked. Raises TimeoutExpired."""
    with commands_to_fork(environment["PATH"]) as path:
        return subprocess.run(
            command,
            cwd=folder,
            env={**environment, "PATH": path},
            capture_output=True,
            text=True,
            timeout=seconds,
        )
