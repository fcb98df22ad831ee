"""`headway fleet …`, over the API of a server that runs."""

import contextlib
import json
import os
import re
import shlex
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flask import has_app_context

from app.extensions import db
from app.fleet import accounts
from app.fleet.accounts import tokens
from app.fleet.core.selectors import POSITIONS
from app.fleet.projects import grants
from app.fleet.rollouts import CONCURRENCY, OPERATIONS, PER_SERVER, TIMEOUT
from app.fleet.rollouts.rules.waves import DEFAULT
from app.fleet.rollouts.rules.windows import DAYS
from app.models import Kind, Role, Scope, Stage, State, Strategy
from headway.cli.commands import migrate
from headway.cli.fleet import client as remote_client
from headway.cli.fleet import options, watching
from headway.cli.fleet.client import Client
from tests.cli.shell import Shell, Working, at_a_terminal, broken, flask, fleet, stands
from tests.conftest import environment_for
from tests.fleet.fleets import ROOT, Fleet
from tests.live import serve
from tests.receiver import Receiver, receiving

__all__ = ["flask", "fleet"]

PAGE = Path(__file__).parents[2] / "docs" / "remote.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class People:
    """Accounts whose tokens lie in files, and their `headway fleet …` in this process."""

    def __init__(self, folder: Path, server: str) -> None:
        self.folder = folder
        self.server = server

    def add(self, name: str, role: Role, scope: Scope | None = None) -> None:
        email = f"{name}@example.org"
        account, _ = accounts.create_account(ROOT, {"name": name, "role": role, "email": email})
        issued, _ = tokens.issue_token(
            ROOT, account_id=account.id, name="cli", expires_days=1, scope=scope
        )
        self.write(name, issued.text or "")

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        file = self.folder / name
        file.write_text(f"{text}\n")
        file.chmod(mode)
        return file

    def environment(self, name: str) -> dict[str, str]:
        return {"HEADWAY_SERVER": self.server, "HEADWAY_TOKEN_FILE": str(self.folder / name)}

    def __call__(self, name: str, *words: str, code: int = 0, **env: str) -> Result:
        if has_app_context():
            db.session.remove()  # the test's own
        runner = CliRunner(env=self.environment(name) | env)
        done = runner.invoke(migrate, ["fleet", *words], prog_name="headway")
        assert done.exit_code == code, (done.output, done.exception)
        file = self.folder / name
        if file.is_file() and len(text := file.read_text().strip()) > 8:
            assert text not in done.output, "the token is shown"
        return done

    def json(self, name: str, *words: str, code: int = 0) -> Any:
        return json.loads(self(name, *words, "--json", code=code).stdout)


@pytest.fixture
def people(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[People]:
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.05)
    with serve(fleet.app) as server:
        made = People(tmp_path, server)
        made.add("ada", Role.OPERATOR)
        yield made


@pytest.fixture
def stranger(tmp_path: Path) -> People:
    """`ada` with a token, and no server."""
    made = People(tmp_path, "http://127.0.0.1:1")
    made.write("ada", "hw_00000000_secret")
    return made


# --- who asks, and whom --------------------------------------------------------------------------


def test_a_token_says_who_asks(people: People) -> None:
    shown = people("ada", "whoami").stdout.splitlines()
    assert shown[1:] == ["name\tada", "role\toperator"]
    assert people.json("ada", "whoami")["name"] == "ada"


@pytest.mark.parametrize(
    ("env", "code", "says"),
    [
        ({"HEADWAY_SERVER": ""}, 2, "Which server? Give --server URL, or set HEADWAY_SERVER."),
        ({"HEADWAY_TOKEN_FILE": ""}, 2, "Which account? Give --token-file FILE"),
        ({"HEADWAY_SERVER": "http://10.0.0.1"}, 2, "would show the token to the network: use htt"),
        ({"HEADWAY_SERVER": "http://localhost.example.org"}, 2, "to the network: use https"),
        ({"HEADWAY_SERVER": "https://ada:x@example.org"}, 2, "takes no name and password"),
        (
            {"HEADWAY_SERVER": "headway.example.org"},
            2,
            "--server takes an address such as https://",
        ),
        ({"HEADWAY_SERVER": "ftp://example.org"}, 2, "--server takes an address such as https://"),
        ({"HEADWAY_SERVER": "http://[::1"}, 2, "--server takes an address such as https://"),
        ({"HEADWAY_TOKEN_FILE": "/nowhere/token"}, 78, "/nowhere/token cannot be read: No such"),
        ({"HEADWAY_SERVER": "http://127.0.0.1:1"}, 75, "does not answer: Connection refused."),
    ],
)
def test_what_is_not_given_or_cannot_be_used(
    stranger: People, env: dict[str, str], code: int, says: str
) -> None:
    done = stranger("ada", "whoami", code=code, **env)
    assert says in done.stderr


def test_a_proxy_does_not_see_what_is_sent_to_this_machine(people: People) -> None:
    people("ada", "whoami", http_proxy="http://127.0.0.1:1", HTTP_PROXY="http://127.0.0.1:1")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_token_that_others_may_read_is_not_used(stranger: People, mode: int) -> None:
    file = stranger.write("ada", "hw_00000000_secret", mode)
    refused = stranger("ada", "whoami", code=78)
    assert f"Others may read the token file {file}: `chmod 600 {file}`." in refused.stderr


@pytest.mark.parametrize("text", ["", "two words", "hw_1\nhw_2", "hw_ü", "x" * 5000])
def test_a_file_without_a_token_is_not_sent(stranger: People, text: str) -> None:
    file = stranger.write("ada", text)
    assert f"The file {file} holds no token" in stranger("ada", "whoami", code=78).stderr


def test_a_wrong_token_is_named_by_its_file(people: People) -> None:
    file = people.write("mallory", "hw_00000000_not-the-one")
    refused = people("mallory", "databases", "list", code=77)
    assert f"The token is that of {file}." in refused.stderr


def test_a_client_shows_no_token(stranger: People) -> None:
    client = Client.of(stranger.server, stranger.folder / "ada")
    assert client.token
    assert client.token not in repr(client)


def test_a_role_that_is_too_low_is_said(people: People, fleet: Fleet) -> None:
    fleet.add("acme")
    people.add("vera", Role.VIEWER)
    people.add("reader", Role.OPERATOR, Scope.READ)
    assert "acme" in people("vera", "databases", "list").stdout
    for name in ("vera", "reader"):
        refused = people(name, "rollouts", "create", "--project", "shop", code=77)
        assert f"The token is that of {people.folder / name}." in refused.stderr
    assert people.json("vera", "rollouts", "list")["items"] == []


# --- servers that are not what they should be ----------------------------------------------------


def answers(receiver: Receiver, status: int, **headers: str) -> str:
    receiver.status, receiver.headers = status, headers
    return receiver.url.partition("/hook")[0].rstrip("/")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(stranger: People, status: int) -> None:
    with receiving() as first, receiving() as second:
        server = answers(first, status, Location=f"{second.url}/api/v1/me")
        for words in (("whoami",), ("rollouts", "approve", "1")):
            done = stranger("ada", *words, code=78, HEADWAY_SERVER=server)
            assert "The token is not sent there" in done.stderr
        assert len(first.heard) == 2
        assert second.heard == []


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (200, 78, "that is not Headway's API: check --server."),
        (404, 1, "answers 404 Not Found, and that is not Headway's API"),
        (401, 77, "answers 401 Unauthorized"),
        (502, 75, "answers 502 Bad Gateway: try again later."),
    ],
)
def test_another_program_is_not_taken_for_headway(
    stranger: People, status: int, code: int, says: str
) -> None:
    with receiving() as receiver:
        server = answers(receiver, status)
        assert says in stranger("ada", "whoami", code=code, HEADWAY_SERVER=server).stderr


def test_a_server_that_goes_away_leaves_it_open_what_was_done(stranger: People) -> None:
    with receiving() as receiver:
        receiver.talk = receiver.close
        server = answers(receiver, 200)
        asked = stranger("ada", "rollouts", "pause", "1", code=75, HEADWAY_SERVER=server)
        assert "The action may have been done. Check before" in asked.stderr
        read = stranger("ada", "whoami", code=75, HEADWAY_SERVER=server)
        assert "does not answer" in read.stderr
        assert "may have been done" not in read.stderr


def test_a_server_that_says_nothing_is_not_waited_for_for_ever(
    stranger: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_client, "SECONDS", 0.2)
    with receiving() as receiver:
        receiver.talk = receiver.hang
        server = answers(receiver, 200)
        done = stranger("ada", "whoami", code=75, HEADWAY_SERVER=server)
        assert f"{server} does not answer: it took too long." in done.stderr


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate and its key, which no authority has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    file = tmp_path / "server.pem"
    file.write_bytes(
        key.private_bytes(pem, form, serialization.NoEncryption()) + made.public_bytes(pem)
    )
    return file


@contextlib.contextmanager
def over_tls(certificate: Path) -> Iterator[str]:
    """A server that knows one account."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"id": 1, "name": "Ada", "role": "viewer"}')

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a refused handshake
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"https://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_certificate_is_verified(stranger: People, certificate: Path) -> None:
    with over_tls(certificate) as server:
        refused = stranger("ada", "whoami", code=78, HEADWAY_SERVER=server)
        assert f"The certificate of {server} is not trusted: self-signed" in refused.stderr
        env = {"HEADWAY_SERVER": server, "SSL_CERT_FILE": str(certificate)}
        assert "name\tAda" in stranger("ada", "whoami", **env).stdout


# --- the fleet -----------------------------------------------------------------------------------


def test_projects_and_databases(people: People, fleet: Fleet) -> None:
    acme = fleet.add("acme", labels={"tier": "gold"}).id
    fleet.add("beta")
    assert "shop\tready\tr003" in people("ada", "projects", "list").stdout
    assert people.json("ada", "projects", "show", "shop")["heads"] == ["r003"]
    for name in ("acme", "shop/acme", str(acme)):
        assert people.json("ada", "databases", "show", name)["id"] == acme
    words = ("--project", "shop", "--label", "tier=gold", "--position", "behind", "--not-pinned")
    assert [one["name"] for one in people.json("ada", "databases", "list", *words)["items"]] == [
        "acme"
    ]
    page = people("ada", "databases", "list", "--limit", "1", "--owner", "ada@example.org")
    assert len(page.stdout.splitlines()) == 1
    assert people("ada", "databases", "list", "--limit", "1").stderr == "More: --after 1\n"
    twice = ("--position", "behind", "--position", "at_head")
    assert "give --position once" in people("ada", "databases", "list", *twice, code=2).stderr
    nobody = people("ada", "databases", "show", "nobody", code=1)
    assert "There is no database nobody. `headway fleet databases list` shows" in nobody.stderr
    no_owner = people("ada", "databases", "list", "--owner", "no@example.org", code=1)
    assert "no account with the address no@example.org" in no_owner.stderr


def test_a_database_is_registered_checked_and_retired(people: People, fleet: Fleet) -> None:
    where = people.write("url", f"sqlite:///{fleet.file('acme')}")
    words = ("--project", "shop", "--url-file", str(where), "--label", "tier=gold", "-x", "k=v")
    made = people.json("ada", "databases", "register", *words)
    assert (made["name"], made["labels"], made["x"]) == ("acme", {"tier": "gold"}, {"k": "v"})
    assert "already" in people("ada", "databases", "register", *words, code=1).stderr
    later = people("ada", "databases", "refresh", "--project", "shop")
    assert later.stdout == "A worker will check the databases of shop.\n"
    with Working(fleet):
        people("ada", "databases", "check", "acme", "--wait")
    assert people.json("ada", "databases", "show", "acme")["drift"] == 0
    gone = people("ada", "databases", "retire", "acme", "--yes")
    assert "was not changed" in gone.stdout
    assert people.json("ada", "databases", "list", "--retired")["items"][0]["name"].startswith(
        "acme"
    )


def test_a_database_is_created_and_waited_for(people: People, fleet: Fleet) -> None:
    words = ("databases", "create", "--project", "shop", "--url")
    with Working(fleet):
        made = people.json("ada", *words, f"sqlite:///{fleet.folder}/new.db")
    assert (made["name"], made["position"]) == ("new", "at_head")
    said = people("ada", *words, f"sqlite:///{fleet.folder}/later.db", "--no-wait").stdout
    assert said == "Started rollout 2. `headway fleet rollouts watch 2` waits for it.\n"
    fleet.drain()
    assert stands(fleet, "later") == ["r003"]
    with Working(fleet):
        failed = people("ada", *words, f"sqlite:///{fleet.file('there')}", code=1).stderr
    assert "already exists. Register it instead." in failed


def test_the_same_is_said_over_the_api_as_on_the_server(
    people: People, flask: Shell, fleet: Fleet
) -> None:
    fleet.add("acme", labels={"tier": "gold"})
    fleet.start()
    fleet.drain()
    for words in (
        ("projects", "list"),
        ("projects", "show", "shop"),
        ("databases", "list"),
        ("databases", "show", "acme"),
        ("rollouts", "list"),
        ("rollouts", "list", "--stage", "succeeded"),
        ("rollouts", "show", "1"),
        ("rollouts", "preview", "1", "--sql"),
        ("rollouts", "undo", "1", "--dry-run"),
        ("runs", "list", "--rollout", "1"),
        ("runs", "show", "1", "--sql"),
        ("runs", "start", "acme", "downgrade", "r001", "--dry-run"),
        ("runs", "start", "acme", "upgrade"),
    ):
        assert people("ada", *words).stdout == flask(*words).stdout, words
    for words in (("rollouts", "show", "1"), ("runs", "show", "1"), ("databases", "show", "acme")):
        assert people.json("ada", *words).keys() == flask.json(*words).keys()
    ours, theirs = (
        people("ada", "rollouts", "watch", "1", "--json").stdout,
        flask("rollouts", "watch", "1", "--json").stdout,
    )
    assert json.loads(ours).keys() == json.loads(theirs).keys()


# --- rollouts ------------------------------------------------------------------------------------


def test_from_a_preview_to_an_undo_with_an_approval_in_between(
    people: People, fleet: Fleet
) -> None:
    fleet.add_many(2)
    people.add("bob", Role.OPERATOR)
    words = ("rollouts", "create", "--project", "shop", "--wave", "1", "--approval")
    dry = people("ada", *words, "--dry-run", "--database", "d000", "--database", "shop/d001")
    assert dry.stdout.endswith("2 databases, in waves of 1, 1\n")
    made = people("ada", *words, "--title", "spring")
    assert "`headway fleet rollouts start 1` starts it." in made.stderr
    with Working(fleet):
        people("ada", "rollouts", "rehearse", "1", "--sample", "1", "--watch")
        waits = people("ada", "rollouts", "start", "1", "--watch", code=5).stdout
    assert "`headway fleet rollouts approve 1`" in waits
    refused = people("ada", "rollouts", "approve", "1", code=77)
    assert f"The token is that of {people.folder / 'ada'}." in refused.stderr
    assert people("bob", "rollouts", "approve", "1", "--wave", "2", code=1)
    people("bob", "rollouts", "approve", "1", "--wave", "1")
    told = people("ada", "rollouts", "watch", "1", "--timeout", "0", code=75).stdout
    assert "approve 1`" not in told, "it is approved, though no worker has seen that yet"
    with Working(fleet):
        done = people("ada", "rollouts", "watch", "1").stdout
    assert done.splitlines()[-1] == "Rollout 1: succeeded, wave 2 of 2, 2 of 2 done."
    assert stands(fleet, "d000", "d001") == ["r003"] * 2
    back = people("ada", "rollouts", "undo", "1", "--dry-run").stdout
    assert "! r002 drops t2 with all its rows" in back
    assert "waiting" in people("ada", "rollouts", "undo", "1").stdout, "it needs an approval too"
    people("bob", "rollouts", "approve", "1")
    with Working(fleet):
        people("ada", "rollouts", "watch", "1")
    assert stands(fleet, "d000", "d001") == ["r001"] * 2


def test_the_page_runs_as_written(
    people: People, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("acme", "beta"):
        fleet.add(name)
    people.add("token-of-bob", Role.OPERATOR)
    monkeypatch.chdir(people.folder)
    blocks = "".join(BLOCK.findall(PAGE.read_text()))
    with Working(fleet):
        for line in blocks.splitlines():
            command, _, code = line.partition("  # exits with ")
            program, group, *words = shlex.split(command)
            assert (program, group) == ("headway", "fleet")
            people("ada", *words, code=int(code or 0))
    assert stands(fleet, "acme", "beta") == ["r003"] * 2


def test_it_halts_is_resumed_paused_and_cancelled(people: People, fleet: Fleet) -> None:
    fleet.add_many(3)
    broken(fleet, "d001")
    words = ("--project", "shop", "--wave", "1", "--wave", "2", "--start")
    assert people("ada", "rollouts", "create", *words).stdout == "Rollout 1 is running.\n"
    assert (
        "running, wave 1"
        in people("ada", "rollouts", "watch", "1", "--timeout", "0", code=75).stdout
    )
    fleet.drain()
    halted = people("ada", "rollouts", "watch", "1", code=1).stdout
    assert "d001" in halted
    assert halted.endswith("When the cause is fixed: `headway fleet rollouts resume 1`.\n")
    resumed = people("ada", "rollouts", "resume", "1", "--skip-failed").stdout
    assert resumed == "Rollout 1 is running.\n"
    assert "paused" in people("ada", "rollouts", "pause", "1").stdout
    assert people.json("ada", "rollouts", "cancel", "1")["stage"] == "cancelled"
    refused = people("ada", "rollouts", "resume", "1", code=1)
    assert "Rollout 1 is cancelled" in refused.stderr


def test_what_nobody_takes_part_in_is_not_made(people: People, fleet: Fleet) -> None:
    words = ("rollouts", "create", "--project", "shop", "--start")
    assert (
        "No database takes part: no database matches the selection."
        in people("ada", *words, code=1).stderr
    )
    fleet.add("a", "r003")
    assert "Nothing to do: 1 already at r003." in people("ada", *words).stdout
    assert people.json("ada", "rollouts", "list")["items"] == []
    done = people("ada", "runs", "start", "a", "upgrade", "--wait")
    assert done.stdout == "a: nothing to do. It is already at r003.\n"
    other = people("ada", "rollouts", "create", "--project", "shop", "--wave", "0", code=2)
    assert "waves" in other.stderr


def test_a_run_is_started_and_shown(people: People, fleet: Fleet) -> None:
    fleet.add("a")
    with Working(fleet):
        people("ada", "runs", "start", "a", "upgrade", "--wait")
    assert stands(fleet, "a") == ["r003"]
    (run,) = people.json("ada", "runs", "list", "--database", "a", "--state", "succeeded")["items"]
    assert "CREATE TABLE t2" in people("ada", "runs", "show", str(run["id"]), "--sql").stdout
    shown = people("ada", "runs", "show", str(run["id"])).stdout
    assert "Applied\tr002, r003" in shown
    assert "Revisions\tr001 → r003" in shown
    assert "CREATE TABLE t2" in shown


def answered(people: People, answer: str, *words: str) -> tuple[int, str]:
    """What a person at a terminal sees who answers the question; the exit code comes first."""
    command = [str(Path(sys.executable).with_name("headway")), "fleet", *words]
    env = {"PATH": os.environ["PATH"], "COLUMNS": "200", **people.environment("ada")}
    return at_a_terminal(command, env, answer)


def test_a_person_at_a_terminal_is_asked_first(people: People, fleet: Fleet) -> None:
    fleet.add("a")
    rollout = fleet.start()
    code, said = answered(people, "n", "rollouts", "cancel", str(rollout.id))
    assert (code, fleet.stage(rollout)) == (1, Stage.RUNNING)
    assert "1 waiting database will not be migrated; 0 done stay as they are." in said
    fleet.drain()
    code, said = answered(people, "n", "rollouts", "undo", str(rollout.id))
    assert (code, fleet.stage(rollout)) == (1, Stage.SUCCEEDED)
    assert "r002 drops t2 with all its rows" in said
    code, said = answered(people, "y", "rollouts", "undo", str(rollout.id))
    assert (code, fleet.stage(rollout)) == (0, Stage.UNDOING), said


def test_the_library_offers_what_the_service_takes() -> None:
    assert tuple(OPERATIONS) == options.KINDS
    assert set(options.RUN_KINDS) == set(Kind)
    assert tuple(State) == options.RUN_STATES
    assert tuple(stage.word for stage in Stage) == options.STAGES
    assert tuple(Strategy) == options.STRATEGIES
    assert options.POSITIONS == POSITIONS
    assert options.DAYS == DAYS
    shown: dict[str, Callable[..., object]] = {}
    helps = " ".join(
        str(one.help)
        for one in options.with_rollout_options(lambda: shown).__click_params__  # type: ignore[attr-defined]
    )
    for default in (CONCURRENCY, PER_SERVER, f"{TIMEOUT:g}", " ".join(DEFAULT)):
        assert f"[default: {default}]" in helps


def test_a_member_works_in_its_project_alone(people: People, fleet: Fleet) -> None:
    fleet.add("acme")
    people.add("guest", Role.MEMBER)
    people.add("tess", Role.MEMBER)
    grants.give_grant(ROOT, fleet.project_id, "tess@example.org", "operator")
    assert people("guest", "databases", "list").stdout.count("\n") == 1
    for words in (("databases", "show", "acme"), ("projects", "show", "shop")):
        assert "There is no" in people("guest", *words, code=1).stderr
    with Working(fleet, pause=0.2):
        people("tess", "rollouts", "create", "--project", "shop", "--watch")
    assert stands(fleet, "acme") == ["r003"]
    for verb in ("preview", "undo", "watch"):
        refused = people("guest", "rollouts", verb, "1", code=1)
        assert "There is no rollout 1." in refused.stderr
    (run,) = people.json("tess", "runs", "list")["items"]
    assert "There is no run" in people("guest", "runs", "show", str(run["id"]), code=1).stderr


# --- completion ----------------------------------------------------------------------------------


def completed(program: str, line: str, **env: str) -> list[str]:
    """What a shell is offered for the last word of a line, by a process of its own."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(shlex.split(line)) - (line[-1] != " "))}
    complete = {f"_{program.upper()}_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [Path(sys.executable).parent / program],
        env=environment_for(db.engine.url) | words | complete | env,
        cwd=PAGE.parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [one.partition(",")[2] for one in done.stdout.split()]


def test_a_shell_completes_names(fleet: Fleet, people: People) -> None:
    fleet.add_many(2)
    first = fleet.rollout()
    db.session.rollback()
    remote = people.environment("ada")
    for program, before, env in (
        ("flask", "flask", {"FLASK_APP": "wsgi:app"}),
        ("headway", "headway fleet", remote),
    ):
        assert completed(program, f"{before} rollouts list --project s", **env) == ["shop"]
        assert completed(program, f"{before} databases show d00", **env) == ["d000", "d001"]
        assert completed(program, f"{before} rollouts show ", **env) == [str(first.id)]
    away = {**remote, "HEADWAY_SERVER": "http://127.0.0.1:1"}
    assert completed("headway", "headway fleet databases show d00", **away) == []
