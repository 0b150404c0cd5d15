"""The `session2` command and `setup-store.py`: as processes of their own where that makes a difference."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, redirect_stderr, redirect_stdout
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias
from unittest.mock import patch

import pytest
from servers_durus import DurusServer, marked
from servers_sql import PASSWORD, MariaServer, PostgresServer

from session2 import ConfigurationError, DictSession, SessionManager, StoreUnavailable, from_url
from session2.cli import main
from session2.cli import setup_store as main_of_setup_store
from session2.cli.copy import Fate, copy, plan, verify
from session2.found import Absence
from session2.record import Record
from session2.store.base import SessionStore
from session2.store.ended import Ended
from session2.store.volatile import VolatileSessionStore
from session2.testing.store.samples import key_of, record_at
from session2.tokens import new_id
from session2.traces import emptied, is_session, moved
from session2.traces import ended as trace_of_end

ROOT = Path(__file__).parents[2]
Called: TypeAlias = Callable[..., tuple[str, str]]
DAY = 86400.0
NOW = 2_000_000_000.0  # a day in 2033: records made at it have not expired


def run(program: list[str], *arguments: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    foreign = ("SESSION2_", "PG", "MYSQL")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    done = subprocess.run([sys.executable, "-W", "error", *program, *arguments], text=True, capture_output=True,
                          stdin=subprocess.DEVNULL, timeout=120, start_new_session=True,  # without a terminal
                          env={**environment, "PYTHONPATH": str(ROOT), **variables})
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def session2_process(*arguments: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(["-m", "session2"], *arguments, code=code, **variables)


def session2(*arguments: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in this process: as `session2` does, and faster."""
    ended = 0
    with patch.dict(os.environ, variables), redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        try:
            main(arguments)
        except SystemExit as end:
            ended = int(end.code or 0)
    assert ended == code, out.getvalue() + err.getvalue()
    return subprocess.CompletedProcess(arguments, ended, out.getvalue(), err.getvalue())


def setup_store(*arguments: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    return run([str(ROOT / "setup-store.py")], *arguments, code=code, **variables)


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that is set up."""
    scheme = getattr(request, "param", "sqlite")
    url = f"{scheme}:{tmp_path}/{scheme}"
    store = from_url(url, **({"create": True} if scheme == "directory" else {}))
    store.setup()
    store.close()
    return url


on_both = pytest.mark.parametrize("url", ["directory", "sqlite"], indirect=True)


@pytest.fixture
def store(url: str) -> Iterator[SessionStore]:
    store = from_url(url)
    yield store
    store.close()


@pytest.fixture
def called(capsys: pytest.CaptureFixture[str]) -> Called:
    """Run a command in this process: as `session2` does, and faster."""
    def call(*arguments: str, code: int = 0, main: Callable[[Sequence[str]], None] = main) -> tuple[str, str]:
        ended = 0
        try:
            main(arguments)
        except SystemExit as end:
            ended = int(end.code or 0)
        out, err = capsys.readouterr()
        assert ended == code, out + err
        return out, err
    return call


def begun(store: SessionStore, user: Any = None, **values: Any) -> DictSession:
    """Return a session that is stored."""
    session = DictSession()
    session.user = user
    session.update(values)
    store.save_session(session)
    return session


def keys(store: SessionStore) -> set[str]:
    return {key for key, record in store.scan() if is_session(key, record)}


# -- all commands -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["setup", "purge", "list", "stats", "show", "revoke", "copy"])
def test_every_command_has_help_and_refuses_nonsense(command: str, called: Called) -> None:
    assert "Usage: session2 " + command in called(command, "--help")[0]
    called(command, code=2)
    called(command, "volatile:", "--colour", "red", code=2)


def test_the_version_is_that_of_the_package() -> None:
    import session2 as package

    assert session2_process("--version").stdout == f"session2 {package.__version__}\n"


@pytest.mark.parametrize("arguments", [("list", "bogus:x"), ("list", "volatile:?colour=red"), ("setup", "no url"),
                                       ("list", "mysql://["), ("setup", "mysql", "host", "user"),
                                       ("setup", "oracle", "host", "user", "password", "database"),
                                       ("purge", "volatile:", "--batch", "0"),
                                       ("purge", "volatile:", "--older-than", "nan"),
                                       ("purge", "volatile:", "--older-than", "inf"),
                                       ("purge", "volatile:", "--older-than=-1"), ("show", "volatile:", "short"),
                                       ("show", "volatile:", "../../etc/passwd"), ("revoke", "volatile:"),
                                       ("revoke", "volatile:", "--all", "--user", "anna"),
                                       ("copy", "volatile:", "volatile:")])
def test_usage_errors_are_code_2(arguments: tuple[str, ...], called: Called) -> None:
    out, err = called(*arguments, code=2)
    assert err
    assert out == ""


@pytest.mark.parametrize(("command", "url"), [
    (("list",), "mysql://anna:s3cret@127.0.0.1:1/sessions"),
    (("purge",), "postgresql://anna:s3cret@127.0.0.1:1/sessions"),
    pytest.param(("revoke", "--all", "--yes"), "durus+unix:/nowhere/socket", marks=pytest.mark.durus),
    pytest.param(("show", "12345678"), "durus://127.0.0.1:1", marks=pytest.mark.durus),
    (("setup",), "mysql://anna:s3cret@127.0.0.1:1/sessions"),
    pytest.param(("copy", "volatile:"), "durus://127.0.0.1:1", marks=pytest.mark.durus),
    (("list",), "directory:/nowhere"),
])
def test_an_unavailable_store_is_code_3_and_one_line(command: tuple[str, ...], url: str) -> None:
    done = session2_process(command[0], url, *command[1:], code=3)
    assert done.stderr.startswith("session2: ")
    assert len(done.stderr.splitlines()) == 1
    assert "s3cret" not in done.stdout + done.stderr


@pytest.mark.parametrize("password", ["s3@cret", "s3/cret", "s3?cret", "s3#cret", "s3 cret", "s3%cret"])
def test_a_password_that_breaks_its_url_is_refused_and_not_shown(password: str) -> None:
    url = f"postgresql://anna:{password}@127.0.0.1:1/sessions"
    for done in (session2("setup", url, code=2), setup_store(url, code=2)):
        assert "%40" in done.stderr
        assert "cret" not in done.stdout + done.stderr


def test_no_terminal_to_ask_for_a_password_is_one_line() -> None:
    for done in (session2_process("list", "mysql://anna@127.0.0.1:1/d", "--password-prompt", code=2),
                 session2_process("setup", "mysql", "", "anna", "-", "d", code=2),
                 setup_store("psycopg", "", "anna", "-", "d", code=2)):
        assert "SESSION2_PASSWORD" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_missing_library_is_one_line() -> None:
    program = "import sys; sys.modules['typer'] = None; from session2.cli import main; main(['list', 'volatile:'])"
    done = run(["-c", program], code=2)
    assert "pip install 'session2[cli]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# -- setup ------------------------------------------------------------------------------------------------------------


def test_setup_drops_only_what_it_is_told_to(url: str, store: SessionStore) -> None:
    session = begun(store)
    session2("setup", url)
    assert store.has_session(session.id)
    done = session2("setup", url, "--drop", code=2)
    assert "--yes" in done.stderr
    assert store.has_session(session.id)
    assert json.loads(session2("setup", url, "--drop", "--yes", "--json").stdout)["dropped"] is True
    assert not store.has_session(session.id)


@pytest.mark.parametrize("word", ["help", "--help", "-h"])
def test_setup_store_tells_how_it_is_used(word: str) -> None:
    assert "mysql     HOST USER PASSWORD DATABASE [TABLE]" in setup_store(word).stdout


@pytest.mark.parametrize("arguments", [(), ("mysql",), ("psycopg", "", "u", "p"), ("oracle", "", "u", "p", "d"),
                                       ("mysql", "", "u", "p", "d", "t", "x"), ("bogus:x",)])
def test_setup_store_refuses_nonsense(arguments: tuple[str, ...], called: Called) -> None:
    assert called(*arguments, code=2, main=main_of_setup_store)[1]


@pytest.mark.parametrize("scheme", ["directory", "sqlite"])
def test_setup_store_takes_a_url(scheme: str, tmp_path: Path) -> None:
    setup_store(f"{scheme}:{tmp_path}/sessions")
    assert (tmp_path / "sessions").exists()


def test_setup_store_needs_no_library(tmp_path: Path) -> None:
    program = ("import runpy, sys; sys.modules['typer'] = sys.modules['rich'] = None; "
               f"sys.argv[1:] = ['sqlite:{tmp_path}/x']; "
               f"runpy.run_path({str(ROOT / 'setup-store.py')!r}, run_name='__main__')")
    run(["-c", program])
    assert (tmp_path / "x").exists()


def databases(mariadb: MariaServer, postgres: PostgresServer) -> list[tuple[str, str, str, str, dict[str, str]]]:
    """Name in the command, name in the message, database, URL, and where the server is: as its own programs take it."""
    local = {"MYSQL_UNIX_PORT": mariadb.socket(), "MYSQL_TCP_PORT": str(mariadb.port)}
    return [("mysql", "MySQL", "session2", mariadb.url, local),
            ("psycopg", "PostgreSQL", "postgres", postgres.url,
             {"PGHOST": str(postgres.folder), "PGPORT": str(postgres.port)})]


def of_table(url: str, table: str) -> SessionStore:
    return from_url(f"{url}?table={table}")


@pytest.mark.parametrize("host", ["", "localhost", "127.0.0.1"])
@pytest.mark.parametrize("which", [0, 1], ids=["mysql", "psycopg"])
def test_the_command_lines_of_session2_06_work(which: int, host: str, mariadb: MariaServer,
                                               postgres: PostgresServer) -> None:
    name, shown, database, url, place = databases(mariadb, postgres)[which]
    if not host:
        place.pop("MYSQL_TCP_PORT", None)  # it must be the socket
    table = f"cli_{name}_{len(host)}"
    for command in (setup_store, lambda *arguments, **variables: session2("setup", *arguments, **variables)):
        done = command(name, host, "session2", PASSWORD, database, table, **place)
        assert done.stdout == f"Creating {shown} table '{table}' in database '{database}'\n"
        store = of_table(url, table)
        assert len(keys(store)) == (command is not setup_store)  # the second time, the session is still there
        if command is setup_store:
            begun(store, "anna")
        store.close()
    session2("setup", f"{url}?table={table}", "--drop", "--yes")


@pytest.mark.parametrize("which", [0, 1], ids=["mysql", "psycopg"])
def test_the_table_is_called_sessions_by_default(which: int, mariadb: MariaServer, postgres: PostgresServer) -> None:
    name, shown, database, url, place = databases(mariadb, postgres)[which]
    with closing((mariadb, postgres)[which].connect()) as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS sessions")  # another test may have used it
    done = setup_store(name, "", "session2", PASSWORD, database, **place)
    assert done.stdout == f"Creating {shown} table 'sessions' in database '{database}'\n"
    assert session2("list", url).stdout == ""


@pytest.mark.parametrize("given", ["-", ""])
@pytest.mark.parametrize("which", [0, 1], ids=["mysql", "psycopg"])
def test_the_password_need_not_be_in_the_process_list(which: int, given: str, mariadb: MariaServer,
                                                      postgres: PostgresServer) -> None:
    name, _, database, url, place = databases(mariadb, postgres)[which]
    arguments = (name, "127.0.0.1", "session2", given, database, "cli_secret")
    setup_store(*arguments, **place, SESSION2_PASSWORD=PASSWORD)
    without = "".join(url.partition("session2:")[0::2]).replace("p%40ss%3Aw%2Frd@", "session2@")
    assert PASSWORD not in without
    session2("list", without + "?table=cli_secret", SESSION2_PASSWORD=PASSWORD)
    done = session2("list", without + "?table=cli_secret", SESSION2_PASSWORD="wrong-one", code=3)
    assert "wrong-one" not in done.stderr
    asked = on_a_terminal("list", without + "?table=cli_secret", "--password-prompt", answer=PASSWORD)
    assert "p%40ss" not in asked
    assert PASSWORD not in asked
    assert "key" in asked


TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


def on_a_terminal(*arguments: str, answer: str | None = None, columns: int = 120, code: int = 0) -> str:
    """Run the command where there is a terminal, answering its prompt; return all that is to be seen."""
    command = [sys.executable, "-c", TERMINAL, sys.executable, "-W", "error", "-m", "session2", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": str(columns)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        seen = b""
        while answer is not None and not seen.rstrip().endswith((b":", b"]:")):
            seen += os.read(process.stdout.fileno(), 1000)
        if answer is not None:
            process.stdin.write(answer.encode() + b"\n")
            process.stdin.flush()
        seen += process.stdout.read()
    assert process.returncode == code, seen
    return seen.decode()


# -- list and show ----------------------------------------------------------------------------------------------------


@on_both
def test_list(url: str, store: SessionStore) -> None:
    sessions = [begun(store, user) for user in ("anna", "anna", "bert", None)]
    with store.lock(store.sessions.key(str(sessions[0].id))):
        lines = [line.split("\t") for line in session2("list", url).stdout.splitlines()]
    assert sorted((line[0], line[1]) for line in lines) == sorted((s.key, s.user or "-") for s in sessions)
    assert {line[4] for line in lines} == {"never"}
    anna = session2("list", url, "--user", "anna", "--json").stdout.splitlines()
    assert {json.loads(line)["key"] for line in anna} == {session.key for session in sessions[:2]}
    assert len(session2("list", url, "--limit", "3").stdout.splitlines()) == 3
    assert session2("list", url, "--user", "carl", code=1).stdout == ""


@pytest.mark.parametrize("command", ["list", "stats"])
def test_a_time_that_no_calendar_has_is_told_in_seconds(url: str, store: SessionStore, command: str) -> None:
    store.write(key_of(0), record_at(NOW, expires=1e13), None)
    assert "10000000000000.0" in session2(command, url).stdout


def test_list_is_a_table_on_a_terminal(url: str, store: SessionStore) -> None:
    session = begun(store, "anna\x1b[2J")
    seen = on_a_terminal("list", url)
    assert "accessed" in seen
    assert f"{session.key:.16}" in seen
    assert "\x1b[2J" not in seen


def test_list_fits_80_columns(url: str, store: SessionStore) -> None:
    now = time.time()
    for number, (user, age, end, size) in enumerate([
            ("a" * 200, 5.0, None, 5), ("\N{SNOWMAN}" * 30, 999.5 * DAY, 999.5 * DAY, 12_345_678),
            ("bert", 59.5 * 60, 90 * 60, 5), (None, 25 * 3600, 90, 5)]):
        store.write(key_of(number), record_at(now, b"x" * size, user=user, created=now - age, accessed=now - age,
                                              expires=end and now + end), None)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", on_a_terminal("list", url, columns=80)).splitlines()
    assert len(lines) == 5
    assert max(map(len, lines)) <= 80
    told = {line[:16]: " ".join(line[16:].split()) for line in lines}
    assert re.fullmatch(r"a{17}… \d+ s ago \d+ s ago never 5", told[key_of(0)[:16]])
    assert told[key_of(1)[:16]].endswith("999 d ago 999 d ago in 999 d 12345678")
    assert told[key_of(2)[:16]] == "bert 59 m ago 59 m ago in 1 h 5"
    assert told[key_of(3)[:16]] == "- 1 d ago 1 d ago in 1 m 5"


def test_stats(url: str, store: SessionStore) -> None:
    assert json.loads(session2("stats", url, "--json").stdout) == {
        "sessions": 0, "users": 0, "oldest": None, "next_to_expire": None, "bytes": 0}
    for number, (user, expires) in enumerate([("anna", 500.0), ("anna", None), ("bert", 400.0), (None, 900.0)]):
        store.write(key_of(number), record_at(NOW, b"12345", user=user, created=NOW - 10 * number,
                                              expires=expires and NOW + expires), None)
    with store.lock(key_of(0)):
        assert json.loads(session2("stats", url, "--json").stdout) == {
            "sessions": 4, "users": 2, "oldest": NOW - 30, "next_to_expire": NOW + 400, "bytes": 20}
    assert session2("stats", url).stdout == ("sessions: 4\nusers: 2\noldest: 2033-05-18T03:32:50Z\n"
                                             "next to expire: 2033-05-18T03:40:00Z\nbytes: 20\n")
    assert session2("stats", url, "--user", "anna").stdout.startswith("sessions: 2\nusers: 1\n")
    session2("stats", url, "--user", "carl", code=1)


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    store = from_url(f"sqlite:{tmp_path}/s")
    store.setup()
    for number in range(2000):
        store.write(key_of(number), record_at(NOW), None)
    store.close()
    command = [sys.executable, "-m", "session2", "list", f"sqlite:{tmp_path}/s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_show_masks_values(url: str, store: SessionStore) -> None:
    session = begun(store, "anna", basket=["s3cret"], address={"street": "s3cret", "number": 5})
    key = str(session.key)
    done = session2("show", url, key)
    assert f"key: {key}" in done.stdout
    assert "user: anna" in done.stdout
    assert "basket: <list>" in done.stdout
    assert "number: <int>" in done.stdout
    assert "s3cret" not in done.stdout + session2("show", url, key, "--json").stdout
    assert "basket: ['s3cret']" in session2("show", url, key, "--values").stdout
    shown = json.loads(session2("show", url, key[:8], "--values", "--json").stdout)
    assert shown["key"] == key
    assert "'street': 's3cret'" in str(shown["state"])
    assert shown["state"]["data"]["basket"] == ["s3cret"]
    assert store.has_session(session.id)


def test_show_prints_json_whatever_the_numbers_are(url: str, store: SessionStore) -> None:
    key = str(begun(store, "anna", ratios=[float("nan"), float("inf")], lowest=-float("inf")).key)
    printed = session2("show", url, key, "--values", "--json").stdout
    shown = json.loads(printed, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (shown["state"]["data"]["ratios"], shown["state"]["data"]["lowest"]) == (["nan", "inf"], "-inf")


def test_show_a_value_that_contains_itself_or_is_very_deep(url: str, store: SessionStore) -> None:
    ring: dict[str, object] = {}
    ring["ring"], deep, tuples = ring, [], ()
    for _ in range(300):
        deep, tuples = [deep], (tuples,)
    key = str(begun(store, "anna", ring=ring, deep=deep, tuples=tuples, after="shown").key)
    for options in ([], ["--values"], ["--values", "--json"]):
        assert "after" in session2("show", url, key, *options).stdout
    assert "after: shown" in session2("show", url, key, "--values").stdout


def test_show_what_cannot_be_read(url: str, store: SessionStore) -> None:
    store.write(key_of(1), record_at(NOW, b"s2 signed\nsealed by the application", user="anna"), None)
    done = session2("show", url, key_of(1), code=1)
    assert "user: anna" in done.stdout
    assert "cannot be read" in done.stderr


def test_a_key_may_be_shortened_but_not_ambiguous(url: str, store: SessionStore) -> None:
    for end in "ab":
        store.write("0123456789" + end * 54, record_at(NOW, user=end), None)
    for command in (["show", url], ["revoke", url, "--key"]):
        assert "2 sessions" in session2(*command, "0123456789", code=1).stderr
    assert "no session" in session2("show", url, "f123456789", code=1).stderr
    assert "user: a" in session2("show", url, "0123456789a", code=1).stdout
    session2("revoke", url, "--key", "0123456789a")
    assert keys(store) == {"0123456789" + "b" * 54}


# -- purge and revoke -------------------------------------------------------------------------------------------------


@on_both
def test_purge(url: str, store: SessionStore) -> None:
    now = store.clock()
    for number in range(10):
        store.write(key_of(number), record_at(now, expires=now - 1), None)
    store.write(key_of(10), record_at(now, accessed=now - 7200, expires=None), None)
    store.write(key_of(11), record_at(now, accessed=now - 60, expires=None), None)
    assert session2("purge", url, "--batch", "3").stdout == "10 deleted\n"
    assert json.loads(session2("purge", url, "--json").stdout) == {"deleted": 0, "remaining": None}
    assert keys(store) == {key_of(10), key_of(11)}
    assert session2("purge", url, "--older-than", "90").stdout == "1 deleted, 1 remaining\n"
    assert keys(store) == {key_of(11)}


def test_revoke(url: str, store: SessionStore) -> None:
    sessions = [begun(store, user) for user in ("anna", "anna", "bert", "carl", None)]
    assert json.loads(session2("revoke", url, "--user", "anna", "--json").stdout) == {"revoked": 2}
    assert keys(store) == {session.key for session in sessions[2:]}
    session2("revoke", url, "--user", "anna", code=1)
    session2("revoke", url, "--key", str(sessions[2].key))
    assert keys(store) == {session.key for session in sessions[3:]}
    session2("revoke", url, "--key", str(sessions[2].key), code=1)
    assert session2("revoke", url, "--all", "--yes").stdout == "2 revoked\n"
    assert keys(store) == set()
    session2("revoke", url, "--all", "--yes")


@pytest.mark.parametrize("command", [("revoke", "--all"), ("purge", "--older-than", "0"),
                                     ("purge", "--older-than", "0.5"), ("setup", "--drop")])
def test_what_ends_sessions_in_use_is_asked_for(command: tuple[str, ...], url: str, store: SessionStore) -> None:
    begun(store)
    name, *options = command
    done = session2(name, url, *options, code=2)
    assert "--yes" in done.stderr
    assert on_a_terminal(name, url, *options, answer="n", code=1)
    assert "interrupted" in on_a_terminal(name, url, *options, answer="\x03", code=130)
    assert len(keys(store)) == 1
    if "0.5" in options:
        store.touch(*keys(store), time.time() + 50, None)
    else:
        time.sleep(0.01)  # so that it was not used at this very moment
        assert on_a_terminal(name, url, *options, answer="y")
        assert keys(store) == set()
        begun(store)
        time.sleep(0.01)
        session2(name, url, *options, "--yes")
        assert keys(store) == set()


def test_no_session_is_purged_by_a_clock_that_is_ahead(url: str, store: SessionStore) -> None:
    now = store.clock()
    for number in range(3):  # as one sees it three days ahead
        store.write(key_of(number), record_at(now - 3 * DAY, expires=now - DAY), None)
    done = session2("purge", url)
    assert done.stdout == "0 deleted\n"
    assert "the clock of this machine may be wrong" in done.stderr
    assert session2("purge", url, "--older-than", "60", "--json").stdout == '{"deleted": 0, "remaining": 0}\n'
    assert session2("purge", url, "--trust-clock").stdout == "3 deleted\n"


def test_progress_is_for_terminals(url: str, store: SessionStore) -> None:
    begun(store)
    assert session2("purge", url).stderr == ""
    assert "Revoking" in on_a_terminal("revoke", url, "--all", "--yes")


# -- what is not there ------------------------------------------------------------------------------------------------


MISSING = ["directory", "sqlite", "shelve", pytest.param("durus", marks=pytest.mark.durus), "mariadb", "postgres"]


@pytest.fixture(params=MISSING)
def missing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a store that is not there."""
    if request.param not in ("mariadb", "postgres"):
        yield f"{request.param}:{tmp_path}/mistyped"
        return
    server = request.getfixturevalue(request.param)
    yield f"{server.url}?table=mistyped"
    with closing(server.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS mistyped")
        connection.commit()


@pytest.mark.parametrize("command", [("list",), ("list", "--user", "anna"), ("stats",), ("show", "12345678"),
                                     ("purge",), ("purge", "--older-than", "5"), ("revoke", "--all", "--yes"),
                                     ("revoke", "--user", "anna"), ("revoke", "--key", "12345678"),
                                     ("copy", "TARGET"), ("copy", "TARGET", "--dry-run")], ids=" ".join)
def test_nothing_is_made_of_a_store_that_is_not_there(command: tuple[str, ...], missing: str, tmp_path: Path,
                                                      called: Called) -> None:
    name, *options = (f"sqlite:{tmp_path}/target" if word == "TARGET" else word for word in command)
    for _ in range(2):
        out, err = called(name, missing, *options, code=3)
        assert out == ""
        assert err.count("\n") == 1
        assert err.endswith("; set it up with: session2 setup URL\n")
        assert "mistyped" in err
        assert list(tmp_path.iterdir()) == []


def test_what_is_set_up_is_there(missing: str, called: Called) -> None:
    called("setup", missing)
    for command in ("list", "purge", "stats"):
        called(command, missing)


@pytest.mark.parametrize("command", [("list",), ("stats",), ("show", "12345678"), ("purge",), ("setup",),
                                     ("revoke", "--user", "anna"), ("copy", "volatile:")], ids=" ".join)
@pytest.mark.parametrize(("url", "code"), [
    ("mysql://a:b@127.0.0.1:1/x", 3), ("postgresql://a:b@127.0.0.1:1/x", 3),
    pytest.param("durus://127.0.0.1:1", 3, marks=pytest.mark.durus), ("bogus:x", 2), ("directory:", 2),
    ("sqlite:x?y=1", 2), ("sqlite://anna:pw@x/y", 2), ("mysql://[", 2), ("directory:/proc/version", 2)])
def test_the_same_cause_is_the_same_code_everywhere(command: tuple[str, ...], url: str, code: int,
                                                    called: Called) -> None:
    assert called(command[0], url, *command[1:], code=code)[1]
    if command[0] == "setup":
        assert called(url, code=code, main=main_of_setup_store)[1]


# -- copy -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def target(tmp_path: Path) -> Iterator[SessionStore]:
    store = from_url(f"sqlite:{tmp_path}/target")
    store.setup()
    yield store
    store.close()


def copied(*arguments: str, code: int = 0) -> dict[str, int]:
    counts = json.loads(session2("copy", *arguments, "--json", code=code).stdout)
    return {name: count for name, count in counts.items() if count}


def records(store: SessionStore) -> dict[str, Record]:
    return {key: record._replace(version=None) for key, record in store.scan()}


@on_both
def test_copy_is_exact_and_can_be_repeated(url: str, store: SessionStore, target: SessionStore, tmp_path: Path) -> None:
    to = f"sqlite:{tmp_path}/target"
    manager = SessionManager(store, DictSession)
    session = begun(store, "anna", basket=[1, 2])
    old_id = session.id
    loaded = manager.load(str(old_id))
    assert loaded is not None
    store.sessions.rotate(loaded, new_id(), grace=1000.0)  # the trace of the old id goes along
    for number in range(20):
        store.write(key_of(number), record_at(NOW + number / 3, b"%d" % number, user=f"u{number}"), None)
    with store.lock(key_of(0)):
        assert copied(url, to) == {"copied": 22, "verified": 22}
    assert records(target) == records(store)
    assert target.load_session(old_id)["basket"] == [1, 2]
    assert copied(url, to) == {"equal": 22, "verified": 22}
    target.remove(key_of(5))
    store.touch(key_of(6), NOW + 50, NOW + 5000)
    assert copied(url, to) == {"equal": 20, "copied": 2, "verified": 22}
    assert records(target) == records(store)


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_what_ended_between_two_copies_is_over_in_both(url: str, store: SessionStore, target: SessionStore,
                                                       overwrite: tuple[str, ...], tmp_path: Path) -> None:
    """Also if somebody changed it on the other side meanwhile."""
    to = f"sqlite:{tmp_path}/target"
    sides = SessionManager(store, DictSession), SessionManager(target, DictSession)
    ids = [begun(store, "anna", n=number).id for number in range(3)]
    copied(url, to)
    for (ends, goes_on), id in zip([sides, sides[::-1]], ids, strict=False):
        ends.delete(str(id))
        session = goes_on.load(id)
        assert session is not None
        session["late"] = True
        goes_on.save(session)
    emptied = sides[0].load(ids[2])
    assert emptied is not None
    store.sessions.empty(emptied)
    assert copied(url, to, *overwrite) == {"copied": 2, "kept": 1, "verified": 3}
    assert [sides[1].find(str(id)).absence for id in ids] == [Absence.ENDED] * 3


@on_both
def test_what_is_kept_for_cookies_of_ended_sessions_goes_along(url: str, store: SessionStore, target: SessionStore,
                                                               tmp_path: Path) -> None:
    ended = Ended(store)
    ended.end_user("anna", None)
    ended.end(key_of(1), record_at(NOW, trace_of_end("logged out")), record_at(NOW), 100.0)
    assert copied(url, f"sqlite:{tmp_path}/target") == {"copied": 2, "verified": 2}
    assert records(target) == records(store)


@on_both
def test_a_dry_run_tells_and_changes_nothing(url: str, store: SessionStore, target: SessionStore,
                                             tmp_path: Path) -> None:
    for number in range(5):
        store.write(key_of(number), record_at(NOW), None)
    for new in (f"directory:{tmp_path}/new", f"sqlite:{tmp_path}/new", f"shelve:{tmp_path}/new"):
        assert copied(url, new, "--dry-run") == {"copied": 5}
        assert not list(tmp_path.glob("new*"))
    target.write(key_of(0), record_at(NOW), None)
    target.write(key_of(1), record_at(NOW, modified=NOW + 1), None)
    target.write(key_of(2), record_at(NOW, modified=NOW - 100), None)
    before = records(target)
    to = f"sqlite:{tmp_path}/target"
    assert session2("copy", url, to, "--dry-run").stdout == "would be: 3 copied, 1 equal, 1 kept\n"
    assert copied(url, to, "--dry-run", "--overwrite") == {"copied": 4, "equal": 1}
    assert records(target) == before
    session2("copy", url, to + "?serializer=json", "--dry-run", code=2)


def test_copy_never_overwrites_what_is_newer(url: str, store: SessionStore, target: SessionStore,
                                             tmp_path: Path) -> None:
    to = f"sqlite:{tmp_path}/target"
    for number, (modified, accessed) in enumerate([(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)]):
        record = record_at(NOW, modified=NOW, accessed=NOW)
        store.write(key_of(number), record, None)
        target.write(key_of(number), record._replace(modified=NOW + modified, accessed=NOW + accessed), None)
    before = records(target)
    assert copied(url, to) == {"kept": 2, "copied": 1, "verified": 3}
    assert records(target) == {**before, key_of(2): records(store)[key_of(2)]}
    assert copied(url, to, "--overwrite") == {"copied": 2, "equal": 1, "verified": 3}
    assert records(target) == records(store)


def test_an_older_session_does_not_turn_the_idle_clock_back(target: SessionStore) -> None:
    source = VolatileSessionStore()
    source.write(key_of(0), record_at(NOW, b"later state", modified=NOW), None)
    target.write(key_of(0), record_at(NOW, b"earlier state", modified=NOW - 5, accessed=NOW + 5, expires=NOW + 9000),
                 None)
    assert list(copy(source, target, False, pytest.fail)) == [Fate.COPIED]
    [found] = records(target).values()
    assert (found.data, found.accessed, found.expires) == (b"later state", NOW + 5, NOW + 9000)
    assert list(verify(source, target, pytest.fail)) == [Fate.VERIFIED]


def test_nor_does_one_that_was_changed_long_before_it_was_used(target: SessionStore) -> None:
    source = VolatileSessionStore()
    source.write(key_of(0), record_at(NOW, b"later state", modified=NOW, accessed=NOW + 9, expires=NOW + 9009), None)
    target.write(key_of(0), record_at(NOW, b"earlier state", modified=NOW - 5, expires=NOW + 9000), None)
    assert list(copy(source, target, False, pytest.fail)) == [Fate.COPIED]
    assert records(target) == records(source)


def test_a_trace_is_copied_with_its_own_times(target: SessionStore) -> None:
    """The session that it stands for was used later over there, and would have lived on for long."""
    source = VolatileSessionStore()
    source.write(key_of(0), record_at(NOW, trace_of_end("logged out"), expires=NOW + 60), None)
    target.write(key_of(0), record_at(NOW, accessed=NOW + 5, expires=NOW + 9000), None)
    assert list(copy(source, target, False, pytest.fail)) == [Fate.COPIED]
    assert records(target) == records(source)


@pytest.mark.parametrize("trace", [emptied(None), moved(new_id(), new_id())], ids=["emptied", "renewed"])
def test_a_session_that_goes_on_from_its_trace_is_no_older_than_it_is(target: SessionStore, trace: bytes) -> None:
    source = VolatileSessionStore()
    for here, there in [(source, target), (target, source)]:
        key = key_of(0 if here is source else 1)
        here.write(key, record_at(NOW, trace, modified=NOW), None)
        there.write(key, record_at(NOW, b"it went on", modified=NOW + 5), None)
    assert list(copy(source, target, False, pytest.fail)) == [Fate.KEPT, Fate.COPIED]
    assert {record.data for record in records(target).values()} == {b"it went on"}


def test_what_changes_in_the_target_while_it_is_copied_is_looked_at_again() -> None:
    class Busy(VolatileSessionStore):
        def write(self, key: str, record: Record, expected: Any) -> Any:
            if super().read(key) is None:  # somebody else is as far at this moment
                super().write(key, record_at(NOW, b"newer", modified=NOW + 5), None)
            return super().write(key, record, expected)

    source, target = VolatileSessionStore(), Busy()
    source.write(key_of(0), record_at(NOW, modified=NOW), None)
    assert list(copy(source, target, False, pytest.fail)) == [Fate.KEPT]
    assert [record.data for record in records(target).values()] == [b"newer"]


def test_a_store_that_fails_ends_the_copy() -> None:
    class Down(VolatileSessionStore):
        def read(self, key: str) -> Record | None:
            raise StoreUnavailable("down")

    source, target = VolatileSessionStore(), Down()
    source.write(key_of(0), record_at(NOW), None)
    for work in (copy(source, target, False, pytest.fail), plan(source, target, False),
                 verify(source, target, pytest.fail)):
        with pytest.raises(StoreUnavailable):
            list(work)


def test_an_interrupted_copy_is_taken_up_again(url: str, store: SessionStore, target: SessionStore,
                                               tmp_path: Path) -> None:
    for number in range(20):
        store.write(key_of(number), record_at(NOW), None)
    work = copy(store, target, False, pytest.fail)
    assert [next(work) for _ in range(8)] == [Fate.COPIED] * 8
    work.close()
    assert copied(url, f"sqlite:{tmp_path}/target") == {"equal": 8, "copied": 12, "verified": 20}


def test_what_changes_during_the_copy_is_told(target: SessionStore) -> None:
    source = VolatileSessionStore()
    versions = [source.write(key_of(number), record_at(NOW), None) for number in range(5)]
    assert list(copy(source, target, False, pytest.fail)) == [Fate.COPIED] * 5
    source.write(key_of(0), record_at(NOW + 1, b"later"), versions[0])
    target.remove(key_of(1))
    target.write(key_of(2), record_at(NOW, b"damaged", modified=0.0), dict(target.scan())[key_of(2)].version)
    told: dict[str, str] = {}
    fates = list(verify(source, target, told.__setitem__))
    assert sorted(fates, key=lambda fate: fate.value) == [Fate.DIFFERENT] * 3 + [Fate.VERIFIED] * 2
    assert told == {key_of(0): "differs in the target", key_of(1): "is missing in the target",
                    key_of(2): "differs in the target"}


def test_what_the_target_refuses_is_told_and_the_rest_is_copied() -> None:
    class Choosy(VolatileSessionStore):
        def write(self, key: str, record: Record, expected: Any) -> Any:
            if record.data == b"too large":
                raise ConfigurationError("it is too large")
            return super().write(key, record, expected)

    source, target = VolatileSessionStore(), Choosy()
    source.write(key_of(0), record_at(NOW, b"too large"), None)
    source.write(key_of(1), record_at(NOW), None)
    told: dict[str, str] = {}
    assert list(copy(source, target, False, told.__setitem__)) == [Fate.FAILED, Fate.COPIED]
    assert told == {key_of(0): "it is too large"}
    assert list(verify(source, target, told.__setitem__)) == [Fate.DIFFERENT, Fate.VERIFIED]


@pytest.mark.parametrize("options", ["hash_ids=false", "serializer=json"])
def test_stores_between_which_records_lose_their_meaning_are_refused(options: str, url: str, store: SessionStore,
                                                                     tmp_path: Path) -> None:
    begun(store)
    done = session2("copy", url, f"sqlite:{tmp_path}/other?{options}", code=2)
    assert options.partition("=")[0] in done.stderr
    assert not (tmp_path / "other").exists()
    assert copied(f"{url}?{options}", f"sqlite:{tmp_path}/other?{options}") == {"copied": 1, "verified": 1}


@pytest.mark.durus
def test_copy_between_servers(tmp_path: Path, mariadb: MariaServer, postgres: PostgresServer) -> None:
    """Times and users survive every way of keeping them."""
    with DurusServer(tmp_path / "durus") as durus:
        way = [f"directory:{tmp_path}/first", durus.url, mariadb.url + "?table=cli_copy",
               postgres.url + "?table=cli_copy", f"sqlite:{tmp_path}/last"]
        session2("setup", way[0])
        first, last = from_url(way[0]), from_url(way[-1])
        last.setup()
        for number, user in enumerate(["anna", None, "", "\N{SNOWMAN}" * 10, "O'Hara"]):
            first.write(key_of(number), record_at(NOW + number / 7, os.urandom(5000), user=user), None)
        first.write(key_of(9), record_at(NOW, expires=None), None)
        for source, to in pairwise(way):
            assert copied(source, to) == {"copied": 6, "verified": 6}
        assert records(last) == records(first)
        first.close()
        last.close()
    for server in (mariadb, postgres):
        session2("setup", f"{server.url}?table=cli_copy", "--drop", "--yes")


@pytest.mark.durus
def test_interrupting_is_code_130_and_one_line(tmp_path: Path) -> None:
    with DurusServer(tmp_path / "durus") as server:
        server.send(signal.SIGSTOP)
        command = [sys.executable, "-c", "import os; from session2.cli import main\n"
                   "from session2.store.durus import DurusSessionStore as S\nread = S.scan\n"
                   "S.scan = lambda self: (print('scanning', flush=True), read(self))[1]\n"
                   f"main(['list', '{server.url}'])"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "scanning\n"
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30)[1] == "session2: interrupted\n"
        assert process.returncode == 130
        server.send(signal.SIGCONT)


def test_secrets_differ_and_work() -> None:
    first, second = (session2("secret").stdout.strip() for _ in range(2))
    assert first != second
    session2("list", "volatile:?serializer=signed-json", SESSION2_SECRETS=f"{first} {second}")
    session2("list", "volatile:?serializer=signed-json", SESSION2_SECRETS="short", code=2)


# -- in a shell -------------------------------------------------------------------------------------------------------

COMMANDS = ["setup", "purge", "list", "stats", "show", "revoke", "secret", "copy", "migrate"]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_help_fits_a_screen(command: list[str], called: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = called(*command, "--help")[0].splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_help_names_all_commands_and_exit_codes(called: Called) -> None:
    said = called("--help")[0]
    assert "...\n" not in said.partition("\n")[2]
    assert [name for name in COMMANDS if f"\n  {name} " not in said] == []
    assert re.search("Exit codes: 0 .* 1 .* 2 .* 3 .* 130 ", " ".join(said.split()))


@pytest.mark.parametrize(("shell", "variables"), [
    ("bash", {"COMP_WORDS": "session2 {}", "COMP_CWORD": "{count}"}),
    ("zsh", {"_TYPER_COMPLETE_ARGS": "session2 {}"}),
    ("fish", {"_TYPER_COMPLETE_ARGS": "session2 {}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"})])
@pytest.mark.parametrize(("typed", "completed"), [("re", "revoke"), ("copy --over", "--overwrite")])
def test_a_shell_completes_commands_and_options(shell: str, variables: dict[str, str], typed: str, completed: str,
                                                called: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_SESSION2_COMPLETE", f"complete_{shell}")
    for name, text in variables.items():
        monkeypatch.setenv(name, text.format(typed, count=len(typed.split())))
    assert completed in called()[0]


def test_completion_is_installed_for_the_shell_that_asks(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("# mine\n")
    asked = f"PATH={Path(sys.executable).parent}:$PATH; '{sys.executable}' -m session2 --install-completion; true"
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)})
    lines = (tmp_path / ".bashrc").read_text().split()
    assert lines[:2] == ["#", "mine"], done.stderr
    script = next(Path(word.strip("'\"")) for word in lines if "session2" in word)
    shown = subprocess.run(["bash", "-c", f". '{script}'; complete -p session2"], capture_output=True, text=True)
    assert "_session2_completion" in shown.stdout, done.stdout + done.stderr + shown.stderr


@pytest.mark.parametrize(("command", "code", "told"), [
    ("stats {} > /dev/full", 1, "session2: what was to be printed could not be written: No space left on device\n"),
    ("list {} > /dev/full", 1, "session2: what was to be printed could not be written: No space left on device\n"),
    ("list {} >&-", 0, ""),
    ("revoke {} --all >&- <&-", 2, "Invalid value: --all needs --yes where nobody can be asked\n"),
])
def test_what_becomes_of_the_output_is_told_in_a_sentence(url: str, store: SessionStore, command: str, code: int,
                                                         told: str) -> None:
    store.save_session(DictSession(new_id()))
    done = subprocess.run(["bash", "-c", f"{sys.executable} -m session2 {command.format(url)}"], text=True,
                          capture_output=True, timeout=120, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""})
    assert (done.returncode, done.stdout) == (code, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.endswith(told)


def test_who_has_seen_enough_of_the_original_is_told_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as nobody:
        done = subprocess.run([sys.executable, ROOT / "setup-store.py", "help"], stdout=nobody, stderr=subprocess.PIPE,
                              timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_letters_that_the_terminal_lacks_are_escaped(tmp_path: Path) -> None:
    done = setup_store(f"sqlite:{tmp_path}/łódź", PYTHONIOENCODING="ascii")
    assert done.stdout == f"Setting up sqlite:{tmp_path}/\\u0142\\xf3d\\u017a\n"
    assert Path(f"{tmp_path}/łódź").exists()


@pytest.mark.parametrize("url", marked(["directory:{}/new/sessions", "sqlite:{}/sessions.db", "shelve:{}/sessions",
                                        "durus:{}/sessions.durus"]))
def test_what_root_sets_up_belongs_to_the_owner_of_the_folder(url: str, tmp_path: Path) -> None:
    """Else the application could not use it; nor could the workers of a server whose master root started."""
    owner = (65534, 65533) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(tmp_path, *owner)
    url = url.format(tmp_path)
    session2("setup", url)
    with closing(from_url(url)) as store, store.lock(key_of(1)):
        store.write(key_of(1), record_at(store.clock()), None)
        made = {path: (path.stat().st_uid, path.stat().st_gid) for path in tmp_path.rglob("*")}
    assert made
    assert set(made.values()) == {owner}, made
