"""The demonstration as its users have it: a process of its own, over real HTTP, on every store and framework."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from pathlib import Path
from socket import create_connection, create_server
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
import twill
from servers_durus import DurusServer, marked

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.twill"))
COOKIE = "session2_demo"

FRAMEWORKS = ["quixote", "cherrypy", "wsgi", "django", "pyramid", "flask"]
FILES = ["directory", "shelve", "sqlite"]
SERVERS = ["postgres", "mariadb", "durus_server"]
STARTED = ["redis"]
LASTING = [*FILES, *SERVERS, *STARTED]
STORES = ["volatile", "durus", *FILES, *SERVERS]


def pairs(stores: list[str]) -> list:
    """Return stores with frameworks: all with the first two; for the others one store tells enough."""
    return marked([*itertools.product(stores, FRAMEWORKS[:2]), *itertools.product(["directory"], FRAMEWORKS[2:])])


class Answer(NamedTuple):
    """What a server answered."""

    status_code: int
    text: str
    cookie: str | None
    """The id that the session cookie set by it carries."""


class Demo(NamedTuple):
    """One running server."""

    process: subprocess.Popen[str]
    url: str

    def get(self, page: str = "", session_id: str | bytes | None = None) -> Answer:
        """Get a page with this cookie; no redirect is followed and no cookie kept."""
        headers = {}
        if session_id is not None:
            value = session_id if isinstance(session_id, bytes) else session_id.encode()
            headers["Cookie"] = f"{COOKIE}=".encode() + value
        with closing(HTTPConnection(urlsplit(self.url).netloc, timeout=60)) as connection:
            connection.request("GET", "/" + page, headers=headers)
            response = connection.getresponse()
            cookie = SimpleCookie(response.getheader("Set-Cookie", "")).get(COOKIE)
            return Answer(response.status, response.read().decode(), cookie and cookie.value)

    def keep(self) -> str:
        """Begin a session and return its id."""
        return self.get("keep").cookie

    def counter(self, session_id: str) -> int:
        return int(re.search(r"Counter is at (\d+)\.", self.get("", session_id).text)[1])

    def id_shown(self, session_id: str | bytes | None = None) -> str:
        return re.search(r"Your session ID is ([\w-]+)\.", self.get("", session_id).text)[1]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def demo(folder: Path, store: str, framework: str) -> Iterator[Demo]:
    """Run the demonstration in `folder` on a free port."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "adapters")])}
    command = [sys.executable, "-m", "demo", store, "--framework", framework, "--port", "0"]
    with (folder / "demo.log").open("a") as log, subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        try:
            url = re.search(r"http://\S+", process.stdout.readline())
            assert url, (folder / "demo.log").read_text()
            yield Demo(process, url[0])
        finally:
            process.kill()


@pytest.fixture(scope="module")
def durus_server(tmp_path_factory):
    with DurusServer(tmp_path_factory.mktemp("durus")) as server:
        yield server


def place(request, store: str) -> str:
    """Return what the demonstration is told: the name of a store, or the URL of a private server."""
    return request.getfixturevalue(store).url if store in SERVERS else store


@pytest.fixture(scope="module", params=pairs(STORES), ids="-".join)
def server(request, tmp_path_factory):
    store, framework = request.param
    with demo(tmp_path_factory.mktemp("demo"), place(request, store), framework) as running:
        yield running


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    return request.param


@pytest.fixture
def store(request):
    return place(request, request.param)


def on(stores: list[str]) -> pytest.MarkDecorator:
    """Return what runs a test on these stores."""
    both = [pytest.param(*each.values[0], marks=each.marks) for each in pairs(stores)]
    return pytest.mark.parametrize(("store", "framework"), both, indirect=["store"])


def bytes_in(folder: Path) -> bytes:
    return b"".join(path.name.encode() + path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_twill_script(server, script):
    twill.set_log_level("error")
    twill.execute_file(str(script), initial_url=server.url)


def test_the_original_scenarios_are_all_there():
    assert [script.stem for script in SCRIPTS] == [
        "increment", "increment_fail", "logout", "logout_fail", "logout_nokeep", "session_id"]


@pytest.mark.parametrize("cookie", [
    b"../../etc/passwd", b"/dev/null", b"/etc/hostname", b"..", b"%00", b"a\0b", b'"a\\000b"', b"x" * 5000,
    "é€".encode(), b"\xff\xfe", b"", b"*del*", b'"', b"lock-" + b"0" * 64, b"0" * 64, b"A" * 43], ids=repr)
def test_a_cookie_we_did_not_issue_is_not_adopted(server, cookie):
    assert server.get("", cookie).status_code == 200
    kept = server.get("keep", cookie)
    assert kept.status_code in (302, 303)
    assert kept.cookie.encode() != cookie
    assert server.id_shown(cookie) == "None"


def test_a_cookie_made_of_a_live_one_is_not_adopted(server):
    live = server.keep()
    for cookie in (f"{live}.lock", f"./{live}", f"{live}/", live[:-1], f"{live}A", f"lock-{live}"):
        assert server.id_shown(cookie) == "None"
        assert server.get("keep", cookie).cookie != cookie
    assert server.id_shown(live) == live


def test_values_and_users_are_shown_escaped(server):
    session_id = server.keep()
    server.get("set?key=<b>&value=%26<i>", session_id)
    new_id = server.get("login?user=<u>", session_id).cookie
    page = server.get("", new_id).text
    assert "<code>&lt;b&gt;</code> is <code>&amp;&lt;i&gt;</code>" in page
    assert "&lt;u&gt; is logged in." in page


def test_a_login_gives_a_new_id_and_the_old_one_is_dead(server):
    session_id = server.keep()
    server.get("increment", session_id)
    new_id = server.get("login?user=anne", session_id).cookie
    assert new_id != session_id
    assert server.counter(new_id) == 1
    assert server.id_shown(session_id) == "None"


@pytest.mark.parametrize("page", ["nothing", "keep/", "logout/"])
def test_an_unknown_page_is_not_found(server, page):
    assert server.get(page).status_code == 404


def test_a_field_may_have_any_name(server):
    assert server.get("?self=1&path=2&manager=3").status_code == 200


def test_a_connection_that_is_never_used_stops_nobody(framework, tmp_path):
    with demo(tmp_path, "volatile", framework) as running:
        address = urlsplit(running.url)
        with closing(create_connection((address.hostname, address.port))):
            assert running.get().status_code == 200


@on(LASTING)
def test_a_session_survives_a_kill_and_goes_on_under_the_other_framework(store, framework, tmp_path):
    other = FRAMEWORKS[framework == "quixote"]
    with demo(tmp_path, store, framework) as running:
        session_id = running.keep()
        running.get("increment", session_id)
        running.kill()
    with demo(tmp_path, store, framework) as running:
        assert running.counter(session_id) == 1
        running.get("increment", session_id)
        running.kill()
    with demo(tmp_path, store, other) as running:
        assert running.counter(session_id) == 2
        running.get("increment", session_id)
        assert running.id_shown(session_id) == session_id
        assert running.counter(session_id) == 3


@on(LASTING)
def test_two_processes_lose_nothing_of_one_session(store, framework, tmp_path):
    with demo(tmp_path, store, framework) as one, demo(tmp_path, store, framework) as two:
        session_id = one.keep()
        pages = [f"set?key=k{number}&value=v{number}" for number in range(40)] + ["increment"] * 20
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda server, page: server.get(page, session_id), itertools.cycle([one, two]),
                                    pages))
        assert {answer.status_code for answer in answers} <= {302, 303}
        page = two.get("", session_id).text
        assert [number for number in range(40) if f"<code>k{number}</code> is <code>v{number}</code>" not in page] == []
        assert one.counter(session_id) == 20


@on(LASTING)
def test_a_logout_during_a_slow_request_is_final(store, framework, tmp_path):
    with demo(tmp_path, store, framework) as one, demo(tmp_path, store, framework) as two, \
            ThreadPoolExecutor(1) as pool:
        session_id = one.keep()
        slow = pool.submit(one.get, "slow?seconds=1", session_id)
        assert one.process.stdout.readline().startswith("slow:")
        assert two.get("logout", session_id).status_code in (302, 303)
        assert two.id_shown(session_id) == "None"
        assert slow.result().status_code in (302, 303)
        assert one.id_shown(session_id) == two.id_shown(session_id) == "None"


@on(FILES)
def test_the_files_of_a_store_hold_no_live_id(store, framework, tmp_path):
    with demo(tmp_path, store, framework) as running:
        session_id = running.keep()
        running.get("set?key=marker&value=to-be-found", session_id)
        assert b"to-be-found" in bytes_in(tmp_path)
        assert session_id.encode() not in bytes_in(tmp_path)


@on(FILES)
def test_hostile_cookies_touch_no_file(store, framework, tmp_path):
    with demo(tmp_path, store, framework) as running:
        running.keep()
        before = {path for path in tmp_path.rglob("*") if path.is_file()}
        for cookie in ("../escaped", "../../escaped", str(tmp_path / "escaped"), "escaped", "escaped.lock"):
            assert running.get("increment", cookie).status_code in (302, 303)
        assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
        assert not list(tmp_path.parent.glob("escaped*"))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_cleanly(framework, signum, tmp_path):
    with demo(tmp_path, "directory", framework) as running:
        running.keep()
        running.process.send_signal(signum)
        assert running.process.wait(30) == 0
        assert "The demo ends." in running.process.stdout.read()
    assert "Traceback" not in (tmp_path / "demo.log").read_text()


@pytest.mark.parametrize(("arguments", "words"), [
    (["nonsense:"], "no store is called"),
    (["directory:"], "names no path"),
    (["directory:/proc/nowhere"], "/proc/nowhere"),
    (["sqlite://anna:s3cret@x/y"], "no user and no password"),
    (["sqlit"], "did you mean 'sqlite'?"),
    (["postgresql"], "needs a URL, for example postgresql://user@localhost/sessions"),
    (["volatile", "--framework", "cherripy"], "did you mean 'cherrypy'?"),
    (["volatile", "--host", "203.0.113.1"], "cannot be listened to"),
    (["volatile", "--port", "99999"], "cannot be listened to"),
])
def test_a_mistake_is_one_line(framework, arguments, words, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "adapters")])}
    command = [sys.executable, "-m", "demo", "--framework", framework, *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert "s3cret" not in done.stderr


def test_a_server_that_is_not_installed_is_told():
    command = [sys.executable, "-m", "demo", "redis", "--check"]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": "/nowhere"}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "apt-get install redis-server" in done.stderr
    assert "STORE=redis://localhost/0" in done.stderr


def test_a_server_that_does_not_start_says_why(framework, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/redis-server").write_text("#!/bin/sh\necho 'the disk is on fire'; exit 1\n")
    (tmp_path / "bin/redis-server").chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "adapters")]),
                   "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "demo", "redis", "--framework", framework]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (2, "demo: redis did not start: the disk is on fire\n")


@pytest.mark.parametrize("make", [True, False])
def test_a_port_in_use_suggests_another(framework, make, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "adapters")]))
    monkeypatch.setenv("MAKELEVEL", "1") if make else monkeypatch.delenv("MAKELEVEL", raising=False)
    with create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        command = [sys.executable, "-m", "demo", "volatile", "--framework", framework, "--port", str(port)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    found = re.search(r"try: make demo PORT=(\d+)$" if make else r"try: --port (\d+)$", done.stderr)
    create_server(("127.0.0.1", int(found[1]))).close()


@pytest.mark.parametrize("scheme", marked(["directory", "sqlite", "shelve", "durus"]))
def test_a_url_of_a_new_place_is_enough(framework, scheme, tmp_path):
    with demo(tmp_path, f"{scheme}:{tmp_path}/new/deep/path", framework) as running:
        running.keep()
    assert list((tmp_path / "new/deep").iterdir())


# -- make --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def make(tmp_path):
    """Run make in a copy of what it needs, with a pip that only tells what it was asked for."""
    for name in ("session2", "demo"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "setup.py", "README.md", "test/requirements.py", "test/system-packages.sh",
                 "test/system-packages.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / "python"
    python.write_text(f"""#!/bin/sh
case "$*" in
*"-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
*"-m pip"*) echo "pip was run: $*" ;;
*"-m demo"*" --check") exec {sys.executable} "$@" ;;
*"-m demo"*) echo "the demo was run: $*" ;;
*) exec {sys.executable} "$@" ;;
esac
""")
    python.chmod(0o755)

    def run(*arguments, code=0):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MAKE"))}
        done = subprocess.run(["make", f"PYTHON={python}", *arguments], cwd=tmp_path, env=environment,
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout, done.stderr
    return run


@pytest.mark.parametrize(("arguments", "near"), [
    (["FRAMEWORK=quixot"], "quixote"), (["FRAMEWORK=cherry"], "cherrypy"), (["STORE=sqlit"], "sqlite"),
    (["STORE=mysq://x/y"], "mysql"), (["STORE=postgresql"], "postgresql://user@localhost/sessions")])
def test_make_refuses_what_does_not_exist_before_anything_is_installed(make, arguments, near, tmp_path):
    out, err = make("demo", *arguments, code=2)
    assert near in err
    assert "pip was run" not in out
    assert not (tmp_path / ".venv").exists()


def test_make_tells_what_it_installs(make):
    out, _ = make("demo", "FRAMEWORK=cherrypy", "STORE=durus")
    assert re.search(r"^Installing into .venv for session2\[cherrypy\]: CherryPy>=", out, re.MULTILINE)
    assert re.search(r"^Installing into .venv for session2\[durus\]: Durus>=", out, re.MULTILINE)
    assert out.count("pip was run") == 2
    assert "the demo was run: -m demo durus --framework cherrypy" in out
    assert "pip was run" not in make("demo", "FRAMEWORK=cherrypy", "STORE=durus")[0]


def test_make_help_names_every_target(make):
    out, _ = make("help")
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    for target in set(targets) - {"known", "python"}:
        assert re.search(rf"^make {target}\b", out, re.MULTILINE)
