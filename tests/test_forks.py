"""A process that is forked does what one does that was started, as far as a test can see."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.releases import make_release
from tests.support.commands import commands_to_fork
from tests.support.forks import Forks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")

TELLS = """
import os, resource, signal, sys, threading
print(sys.argv, sys.orig_argv[1:], sys.path, sys.dont_write_bytecode, __name__, sorted(globals()))
print(os.getcwd(), os.getppid(), os.getpgid(0), sorted(os.environ.items()))
print(oct(os.umask(0o22)), sorted(map(int, os.listdir("/proc/self/fd")))[:4])
print([one and signal.getsignal(one) for one in map(int, signal.valid_signals())])
print(resource.getrlimit(resource.RLIMIT_NOFILE), threading.active_count())
for one in (sys.stdin, sys.stdout, sys.stderr):
    print(one, one.errors, one.line_buffering, one.write_through, one.isatty(), one.newlines)
print(sys.stdin.read(), sys.flags.utf8_mode)
"""
COMMANDS = {
    "what it finds": ("-c", TELLS, "an", "--argument"),
    "a module": ("-m", "tells", "an"),
    "a file": ("tells.py", "an"),
    "a code": ("-c", "raise SystemExit(7)"),
    "a sentence": ("-c", "raise SystemExit('No.')"),
    "what is left": ("-c", "import atexit; atexit.register(print, 'last'); print('first')"),
    "a thread": ("-c", "import threading; threading.Timer(0.1, print, ['late']).start()"),
    "killed": ("-c", "import os; os.kill(os.getpid(), 9)"),
    "terminated": ("-c", "import os; os.kill(os.getpid(), 15)"),
    "no module": ("-m", "tests.nothing"),
    "our own": ("-c", "import alembic.command, headway; print(headway.__file__)"),
}


def run(forks: Forks, place: Path, *command: str, forked: bool) -> tuple[object, ...]:
    """What a command ends with and says; `forked` is whether it may be."""
    forks.on, before = forked, forks.count
    done = subprocess.run(
        [sys.executable, *command],
        cwd=place,
        env={**os.environ, "ANOTHER": "ö", "PYTHONPATH": "beside"},
        input="said\n",
        text=True,
        capture_output=True,
        umask=0o27,
    )
    assert forked or forks.count == before
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_forked_is_and_says_what_is_started(
    forks: Forks, tmp_path: Path, name: str
) -> None:
    (tmp_path / "tells.py").write_text(TELLS)
    before = forks.count
    forked = run(forks, tmp_path, *COMMANDS[name], forked=True)
    assert forks.count == before + 1
    started = run(forks, tmp_path, *COMMANDS[name], forked=False)
    assert [str(one).splitlines() for one in forked] == [str(one).splitlines() for one in started]


def test_a_module_in_front_of_one_that_was_imported_is_started(
    forks: Forks, tmp_path: Path
) -> None:
    (tmp_path / "flask.py").write_text("print('mine')")
    before = forks.count
    assert run(forks, tmp_path, "-c", "import flask", forked=True) == (0, "mine\n", "")
    assert forks.count == before


def test_another_release_is_forked_without_this_one(forks: Forks, tmp_path: Path) -> None:
    release = make_release(tmp_path)
    (release.path / "headway" / "__init__.py").write_text("print('another')")
    before = forks.count
    code = "import alembic.command, headway.cli, app; print(headway.cli.__file__, app.__file__)"
    found = run(forks, tmp_path, "-c", code, forked=True)
    assert found == (
        0,
        f"another\n{tmp_path}/headway/cli/__init__.py {tmp_path}/app/__init__.py\n",
        "",
    )
    assert forks.count == before + 1


@pytest.mark.parametrize(
    "how",
    [
        {"env": {"PATH": os.environ["PATH"]}},
        {"env": os.environ | {"PYTHONHASHSEED": "1"}},
        {"process_group": 0},
        {"preexec_fn": lambda: None},
        {"close_fds": False},
        {"shell": True},
    ],
    ids=lambda how: next(iter(how)),
)
def test_what_would_not_be_the_same_is_started(forks: Forks, how: dict[str, Any]) -> None:
    before = forks.count
    command = f"{sys.executable} -c pass" if how.get("shell") else [sys.executable, "-c", "pass"]
    assert subprocess.run(command, **how).returncode == 0
    assert forks.count == before


def test_a_process_that_is_forked_can_be_killed_and_waited_for(forks: Forks) -> None:
    before = forks.count
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        assert process.poll() is None
        assert psutil.Process(process.pid).ppid() == os.getpid()
        process.kill()
        assert process.wait(30) == -9
    assert forks.count == before + 1


SCRIPT = """
headway --help | head -2
headway nothing 2>&1 || echo "code $?"
echo sqlite:///x.db | headway current --url-file /dev/stdin --scripts nowhere || echo "code $?"
(headway current --url sqlite:///x.db --scripts nowhere > said 2>&1; echo "code $?"); cat said
"""


def test_the_commands_of_a_script_say_and_end_as_those_that_are_installed(
    forks: Forks, tmp_path: Path
) -> None:
    installed = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found, before = [], forks.count
    with commands_to_fork(installed) as forked:
        for path in (installed, forked):
            command, env = ["sh", "-c", SCRIPT], {**os.environ, "PATH": path}
            done = subprocess.run(command, cwd=tmp_path, env=env, text=True, capture_output=True)
            found.append((done.returncode, done.stdout, done.stderr))
    assert found[0] == found[1]
    assert "Usage: headway" in found[0][1]
    assert forks.count == before + 4


def test_a_command_of_a_script_that_is_killed_takes_its_process_with_it(tmp_path: Path) -> None:
    installed = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.mkfifo(tmp_path / "url")  # which nobody writes
    me = psutil.Process()
    with commands_to_fork(installed) as path:
        command = ["sh", "-c", "exec headway current --url-file url --scripts ."]
        env = {**os.environ, "PATH": path}
        with subprocess.Popen(command, cwd=tmp_path, env=env) as process:
            before = set(me.children())
            deadline = time.monotonic() + 60
            while not (came := set(me.children()) - before):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            process.kill()
            assert process.wait(30) == -9
            _, alive = psutil.wait_procs(came, timeout=60)
            assert not alive
