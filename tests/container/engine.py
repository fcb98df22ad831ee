"""A container engine, Docker's command line or Podman's: build, run, look inside, stop."""

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "localhost/headway:proof"
BASE = "localhost/headway-proof-base"
BASE_RELEASE = "trixie"
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
SEARCH_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
# The limits that engines ask for by default are more than some machines may give.
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")


@dataclass
class Container:
    """One that was started, and how to reach it."""

    engine: "Engine"
    name: str
    port: int
    started: float

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def until(self, good: Callable[[int, Any], bool], path: str, *, seconds: float = 60) -> Any:
        """The body of the first answer that is good; fails if there is none in time."""
        last: Any = "no answer"
        while time.monotonic() < self.started + seconds:
            with contextlib.suppress(OSError, http.client.HTTPException):
                last = self.get(path)
                if good(*last):
                    return last[1]
            time.sleep(0.03)
        raise AssertionError(f"{path} of {self.name}: {last}\n{self.logs()}")

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as its user."""
        return self.engine.call("exec", self.name, *command, check=False)

    def is_healthy(self) -> bool:
        """Run the health check that the image brings."""
        check = self.engine.config()["Healthcheck"]["Test"]
        assert check[0] == "CMD", "the health check goes through a shell"
        return self.run(*check[1:]).returncode == 0

    def logs(self) -> str:
        done = self.engine.call("logs", self.name, check=False)
        return done.stdout + done.stderr

    def stop(self) -> tuple[int, float]:
        """Send SIGTERM and wait as long as compose.yaml does: exit code and seconds."""
        began = time.monotonic()
        self.engine.call("stop", "--time", "30", self.name)
        return self.exit_code(), time.monotonic() - began

    def exit_code(self) -> int:
        """Wait for its end."""
        return int(self.engine.call("wait", self.name).stdout)


@dataclass
class Engine:
    """Docker, or Podman with a storage of its own."""

    command: list[str]
    options: list[str]
    """Options of `build` that this machine needs."""

    @classmethod
    def docker(cls) -> "Engine":
        return cls(["docker"], [])

    @classmethod
    def podman(cls, store: Path) -> "Engine":
        """As root, on machines without systemd and without namespaces to build in."""
        places = ["--root", str(store / "images"), "--runroot", str(store / "state")]
        runtime = shutil.which("runc") or shutil.which("crun") or "runc"
        driver = "overlay" if _mounts_overlays(store) else "vfs"
        plain = ["--storage-driver", driver, "--cgroup-manager", "cgroupfs", "--runtime", runtime]
        # The format is Docker's because the other one has no health check.
        build = ["--isolation", "chroot", "--layers=false", "--format", "docker"]
        return cls(["podman", *places, *plain], build)

    def call(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([*self.command, *arguments], capture_output=True, text=True)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done

    def make_base(self, folder: Path) -> str:
        """An image like python:slim, where none can be pulled: the same Debian with its own Python."""
        if self.call("image", "inspect", BASE, check=False).returncode == 0:
            return BASE
        packages = f"--include={BASE_PACKAGES}"
        make = ["debootstrap", "--variant=minbase", packages, BASE_RELEASE, str(folder)]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        _give_pip(folder)
        archive = folder.with_suffix(".tar")
        subprocess.run(["tar", "-C", str(folder), "-cf", str(archive), "."], check=True)
        self.call("import", "--change", f"ENV PATH={SEARCH_PATH}", str(archive), BASE)
        return BASE

    def build(self, base: str | None, volumes: list[str]) -> None:
        given = ["--build-arg", f"BASE={base}"] if base else []
        mounts = [part for volume in volumes for part in ("--volume", volume)]
        self.call("build", *self.options, *given, *mounts, "--tag", IMAGE, str(ROOT))

    def config(self) -> Any:
        """What the image says about how it is run."""
        found = json.loads(self.call("image", "inspect", IMAGE).stdout)[0]
        return found["Config"] | {"Healthcheck": found.get("Healthcheck")} | found["Config"]

    def once(self, *command: str, options: tuple[str, ...] = ()) -> str:
        """Run a command in a container of the image that is gone afterwards; what it printed."""
        return self.call("run", "--rm", *LIMITS, *options, IMAGE, *command).stdout

    @contextlib.contextmanager
    def start(self, name: str, *options: str, command: tuple[str, ...] = ()) -> Iterator[Container]:
        """Run the image as the manifests do: read-only, without a capability, /tmp in memory."""
        port = _free_port()
        hard = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"]
        hard += ["--security-opt", "no-new-privileges"]
        where = [] if "host" in options else ["--publish", f"127.0.0.1:{port}:8000"]
        where = where or ["--env", f"PORT={port}"]
        arguments = ["run", "--detach", "--name", name, *LIMITS, *hard, *where, *options, IMAGE]
        began = time.monotonic()
        try:
            self.call(*arguments, *command)
            yield Container(self, name, port, began)
        finally:
            self.call("rm", "--force", name, check=False)


def leave(folder: Path) -> None:
    """Unmount what an engine keeps mounted below a folder that is about to go."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in reversed(mounted):
        if Path(place).is_relative_to(folder):
            subprocess.run(["umount", place], check=True)


def _mounts_overlays(folder: Path) -> bool:
    """Whether layers can be stacked here instead of copied, which takes minutes."""
    parts = {name: folder / "try" / name for name in ("lower", "upper", "work", "merged")}
    for part in parts.values():
        part.mkdir(parents=True, exist_ok=True)
    layers = "lowerdir={lower},upperdir={upper},workdir={work}".format_map(parts)
    mount = ["mount", "-t", "overlay", "overlay", "-o", layers, str(parts["merged"])]
    done = subprocess.run(mount, capture_output=True)
    if done.returncode == 0:
        subprocess.run(["umount", str(parts["merged"])], check=True)
    shutil.rmtree(folder / "try")
    return done.returncode == 0


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _give_pip(folder: Path) -> None:
    """Put pip where the official image has it; Debian has it in packages that bring a compiler."""
    (wheel,) = (folder / "usr/share/python-wheels").glob("pip-*.whl")
    for marker in (folder / "usr/lib").glob("python3.*/EXTERNALLY-MANAGED"):
        marker.unlink()
    wheels = Path("/") / wheel.parent.relative_to(folder)
    install = ["install", "--quiet", "--no-index", "--root-user-action", "ignore", "pip"]
    python = ["env", f"PYTHONPATH={wheels / wheel.name}", "python3", "-m", "pip"]
    subprocess.run(
        ["chroot", str(folder), *python, *install, "--find-links", str(wheels)], check=True
    )
