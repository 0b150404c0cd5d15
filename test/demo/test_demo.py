"""The demonstration as its users have it: a process of its own, over real HTTP, on every store and framework."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from socket import create_connection, create_server
from urllib.parse import urlsplit

import pytest
import twill
from running_demo import ROOT, demo, environment
from servers_durus import DurusServer, marked

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.twill"))

FRAMEWORKS = ["Quixote", "CherryPy", "WSGI", "Django", "Pyramid", "Flask", "Starlette"]
FILES = ["directory", "shelve", "sqlite"]
SERVERS = ["postgres", "mariadb", "durus_server"]
STARTED = ["redis"]
LASTING = [*FILES, *SERVERS, *STARTED]
STORES = ["volatile", "durus", *FILES, *SERVERS]

# One manager serves all frameworks: each store with one of them, and all of them with one store, tell enough.
PAIRS = marked([*itertools.product(STORES, FRAMEWORKS[:1]), *itertools.product(["directory"], FRAMEWORKS[1:])])


@pytest.fixture(scope="module")
def durus_server(tmp_path_factory):
    with DurusServer(tmp_path_factory.mktemp("durus")) as server:
        yield server


def place(request, store: str) -> str:
    """Return what the demonstration is told: the name of a store, or the URL of a private server."""
    return request.getfixturevalue(store).url if store in SERVERS else store


@pytest.fixture(scope="module")
def all_frameworks(tmp_path_factory):
    """One process that serves all frameworks."""
    with demo(tmp_path_factory.mktemp("demo"), "directory") as running:
        yield running


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def server(request, tmp_path_factory):
    store, framework = request.param
    if store == "directory":
        yield request.getfixturevalue("all_frameworks").servers[framework]
    else:
        with demo(tmp_path_factory.mktemp("demo"), place(request, store), "--alone") as running:
            yield running.first


@pytest.fixture(params=FRAMEWORKS)
def each(request, all_frameworks):
    """Each framework."""
    return all_frameworks.servers[request.param]


@pytest.fixture(scope="module", params=marked(LASTING))
def lasting(request, tmp_path_factory):
    """A folder, and a store in it or elsewhere that a process may share with others and leave behind."""
    return tmp_path_factory.mktemp("demo"), place(request, request.param)


def bytes_in(folder: Path) -> bytes:
    return b"".join(path.name.encode() + path.read_bytes() for path in folder.rglob("*") if path.is_file())


# -- the pages of the original test application ------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_twill_script(server, script):
    twill.set_log_level("error")
    twill.execute_file(str(script), initial_url=server.url + "original/")


def test_the_original_scenarios_are_all_there():
    assert [script.stem for script in SCRIPTS] == [
        "increment", "increment_fail", "logout", "logout_fail", "logout_nokeep", "session_id"]


def test_a_link_of_another_site_changes_nothing(each):
    session_id = each.keep()
    for site in ("cross-site", "same-site"):
        assert each.get("increment", session_id, Sec_Fetch_Site=site).status_code == 403
        assert each.get("", session_id, Sec_Fetch_Site=site).status_code == 200
    assert each.counter(session_id) == 0
    each.get("increment", session_id, Sec_Fetch_Site="same-origin")
    assert each.counter(session_id) == 1


# -- cookies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cookie", [
    b"../../etc/passwd", b"/dev/null", b"/etc/hostname", b"..", b"%00", b"a\0b", b'"a\\000b"', b"x" * 5000,
    "é€".encode(), b"\xff\xfe", b"", b"*del*", b'"', b"lock-" + b"0" * 64, b"0" * 64, b"A" * 43], ids=repr)
def test_a_cookie_we_did_not_issue_is_not_adopted(server, cookie):
    shown = server.ask("GET", "/", cookie)
    # uvicorn itself refuses such a header; http.cookies, which CherryPy asks, refuses it in newer Pythons.
    if shown.status_code == 400 and (b"\0" in cookie or b"\\000" in cookie):
        return
    assert shown.status_code == 200
    kept = server.get("keep", cookie)
    assert kept.status_code == 303
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
    for path in ("/", "/devices"):
        page = server.show(path, new_id).text
        assert "&lt;u&gt;" in page
        assert not re.search("<[ui]>", page)


def test_a_login_gives_a_new_id_and_the_old_one_is_dead(server):
    session_id = server.begin()
    server.post("/add", session_id)
    new_id = server.post("/login", session_id, user="anne").cookie
    assert new_id != session_id
    assert server.counter(new_id) == 1
    assert server.id_shown(session_id) == "None"


def test_no_page_shows_the_whole_id(server):
    session_id = server.post("/login", user="anne").cookie
    for path in ("/", "/devices", "/labs", "/admin", "/lab/state"):
        shown = server.show(path, session_id)
        assert shown.status_code == 200
        assert session_id not in shown.text
    assert session_id not in server.post("/fail/add", session_id).text


# -- what may be asked -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/nothing", "/original/keep/", "/original/logout/", "/add", "/admin/purge"])
def test_what_cannot_be_got_is_not_found(each, path):
    shown = each.show(path)
    assert shown.status_code == 404
    assert 'href="/"' in shown.text
    assert each.post("/nothing").status_code == 404


def test_a_get_changes_nothing(each):
    session_id = each.post("/login", user="anne").cookie
    each.post("/set", session_id, key="colour", value="blue")
    before = each.show("/lab/state", session_id).text, version_shown(each, session_id)
    for path in ("/", "/?done=out", "/devices", "/labs", "/admin", "/lab/run?id=x", "/lab/run.json?id=x", "/original/"):
        assert each.show(path, session_id).cookie is None
    assert (each.show("/lab/state", session_id).text, version_shown(each, session_id)) == before


def version_shown(server, session_id):
    return re.search(r"<dt>Version</dt><dd><code>(.*?)</code>", server.show("/", session_id).text)[1]


@pytest.mark.parametrize("path", ["/logout", "/add", "/login", "/lab/add", "/lab/begin", "/admin/login"])
def test_a_form_without_the_token_of_the_session_does_nothing(each, path):
    session_id = each.begin()
    each.token(session_id)
    other = each.token(each.begin())
    before = version_shown(each, session_id)
    for body in ("", "csrf_token=", "csrf_token=x", f"csrf_token={other}", "csrf_token=%E2%82%AC"):
        refused = each.ask("POST", path, session_id, body)
        assert (refused.status_code, refused.cookie) == (403, None)
    assert version_shown(each, session_id) == before


@pytest.mark.parametrize("headers", [
    {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:1"},
    {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}], ids=str)
def test_a_form_of_another_site_does_nothing(each, headers):
    session_id = each.begin()
    token = f"csrf_token={each.token(session_id)}&user=eve"
    refused = each.ask("POST", "/login", session_id, token, **headers)
    assert (refused.status_code, refused.cookie) == (403, None)
    assert each.ask("POST", "/login", None, "user=eve", **headers).status_code == 403
    assert each.ask("POST", "/login", session_id, token, Origin=each.url.rstrip("/")).status_code == 303


def test_only_neighbours_may_read_the_race_lab_and_nothing_else(each, all_frameworks):
    session_id = each.begin()
    token = each.token(session_id)
    for neighbour in all_frameworks.servers.values():
        origin = neighbour.url.rstrip("/")
        shown = each.show("/lab/state", session_id, Origin=origin)
        assert shown.headers["access-control-allow-origin"] == origin
        assert shown.headers["access-control-allow-credentials"] == "true"
        added = each.ask("POST", "/add", session_id, f"csrf_token={token}", Origin=origin)
        for other in (added, each.show("/", session_id, Origin=origin)):
            assert other.status_code in (200, 303)
            assert "access-control-allow-origin" not in other.headers
    for origin in ("http://localhost:1", "http://evil.example", "null"):
        assert "access-control-allow-origin" not in each.show("/lab/state", session_id, Origin=origin).headers


def test_a_name_of_the_host_that_is_none_is_not_repeated(each):
    assert "evil" not in each.show("/", None, Host='"><b>evil').text


def test_a_field_may_have_any_name(each):
    assert each.show("/?self=1&path=2&manager=3").status_code == 200
    assert each.post("/begin", self="1", site="2", path="3").status_code == 303


def test_styles_and_scripts_are_kept_by_browsers(each):
    for path in re.findall(r'(?:href|src)="(/demo\.[^"]*)"', each.show().text):
        file = each.show(path)
        assert (file.status_code, "immutable" in file.headers["cache-control"]) == (200, True)
    assert "no-store" in each.show().headers["cache-control"]


# -- all frameworks over one store -------------------------------------------------------------------------------------


def test_every_framework_has_a_port_and_a_bar_that_leads_to_the_others(all_frameworks):
    assert list(all_frameworks.servers) == FRAMEWORKS
    for name, server in all_frameworks.servers.items():
        page = server.show("/labs", Host="shop.example:1").text
        bar = re.findall(r'<a href="http://shop\.example:(\d+)/labs"( aria-current="page")?>(\w+)<', page)
        assert [(int(port), found) for port, _, found in bar] == \
            [(urlsplit(other.url).port, other_name) for other_name, other in all_frameworks.servers.items()]
        assert [found for _, current, found in bar if current] == [name]


def test_a_session_goes_from_one_framework_to_the_next(all_frameworks):
    session_id = all_frameworks.first.post("/login", user="anne").cookie
    for server in all_frameworks.servers.values():
        server.post("/add", session_id)
    assert {server.counter(session_id) for server in all_frameworks.servers.values()} == {len(FRAMEWORKS)}
    all_frameworks.servers["Flask"].post("/logout", session_id)
    for server in all_frameworks.servers.values():
        assert "Your session was ended" in server.show("/", session_id).text


def test_a_crash_on_purpose_shows_what_is_left(each, all_frameworks):
    session_id = each.begin()
    crashed = each.post("/fail/add", session_id)
    assert (crashed.status_code, crashed.cookie) == (500, None)
    assert re.search(r"in the request that crashed</dt><dd>1<.*read just now</dt><dd>0<", crashed.text, re.DOTALL)
    crashed = each.post("/fail/logout", session_id)
    assert (crashed.status_code, crashed.cookie) == (500, None)
    assert "<dd>there</dd>" in crashed.text
    for text in (crashed.text, each.get("incrementfail", session_id).text):
        assert "As it should be." in text
        assert '<a class="button" href="/">' in text
    assert each.counter(session_id) == 0
    assert session_id not in all_frameworks.log()


def test_a_connection_that_is_never_used_stops_nobody(each):
    address = urlsplit(each.url)
    with closing(create_connection((address.hostname, address.port))):
        assert each.show().status_code == 200


def test_requests_are_served_in_parallel(each):
    """Two that wait for each other; if one were served after the other, both would have the same session."""
    session_id = each.post("/lab/begin").cookie
    body = f"csrf_token={each.token(session_id)}&meet=1&user="
    with ThreadPoolExecutor(2) as pool:
        logins = list(pool.map(lambda user: each.ask("POST", "/lab/login", session_id, body + user), ["anne", "bert"]))
    assert [login.status_code for login in logins] == [200, 200]
    assert len([login for login in logins if login.cookie]) == 1


# -- several processes, and what they leave ----------------------------------------------------------------------------


def test_processes_lose_nothing_of_one_session_and_a_logout_is_final_also_when_all_are_killed(lasting):
    folder, store = lasting
    with demo(folder, store, "--alone") as one, demo(folder, store, "--alone", "--framework", "wsgi") as two:
        session_id, other = one.first.keep(), one.first.keep()
        pages = [f"set?key=k{number}&value=v{number}" for number in range(40)] + ["increment"] * 20
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda demo, page: demo.first.get(page, session_id), itertools.cycle([one, two]),
                                    pages))
        assert {answer.status_code for answer in answers} == {303}
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(one.first.get, "slow?seconds=1", other)
            assert one.process.stdout.readline().startswith("slow:")
            assert two.first.get("logout", other).status_code == 303
            assert two.first.id_shown(other) == "None"
            assert slow.result().status_code == 303
        one.kill()
        two.kill()
    with demo(folder, store, "--alone", "--framework", "cherrypy") as running:
        page = running.first.get("", session_id).text
        assert [number for number in range(40) if f"<code>k{number}</code> is <code>v{number}</code>" not in page] == []
        assert running.first.counter(session_id) == 20
        assert running.first.id_shown(session_id) == session_id
        assert running.first.id_shown(other) == "None"


@pytest.mark.parametrize("store", FILES)
def test_the_files_of_a_store_hold_no_live_id_and_hostile_cookies_touch_none(store, tmp_path):
    with demo(tmp_path, store, "--alone", "--framework", "wsgi") as running:
        session_id = running.first.begin()
        running.first.post("/set", session_id, key="marker", value="to-be-found")
        running.first.get("", session_id)
        assert b"to-be-found" in bytes_in(tmp_path)
        assert session_id.encode() not in bytes_in(tmp_path)
        before = {path for path in tmp_path.rglob("*") if path.is_file()}
        for cookie in ("../escaped", "../../escaped", str(tmp_path / "escaped"), "escaped", "escaped.lock"):
            assert running.first.get("increment", cookie).status_code == 303
        assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
        assert not list(tmp_path.parent.glob("escaped*"))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_cleanly(signum, tmp_path):
    with demo(tmp_path, "directory") as running:
        session_id = running.first.keep()
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(running.first.get, "slow?seconds=60", session_id)
            assert running.process.stdout.readline().startswith("slow:")
            running.process.send_signal(signum)
            assert running.process.wait(30) == 0
            assert slow.exception() is not None
        assert "The demo ends." in running.process.stdout.read()
        assert running.log() == ""
        assert_nobody_listens(running)


def test_a_kill_leaves_nothing_behind(tmp_path):
    with demo(tmp_path, "volatile") as running:
        assert len(running.servers) == len(FRAMEWORKS)
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(running.process.pid)], capture_output=True,
                                  text=True)
        assert children.stdout.split() == []
        running.kill()
        assert_nobody_listens(running)


def assert_nobody_listens(running):
    for server in running.servers.values():
        address = urlsplit(server.url)
        with pytest.raises(ConnectionRefusedError):
            create_connection((address.hostname, address.port))


def test_a_neighbouring_port_that_is_taken_is_passed_over(tmp_path):
    with two_ports() as (port, taken), demo(tmp_path, "volatile", port=port) as running:
        ports = [urlsplit(server.url).port for server in running.servers.values()]
        assert (ports[0], len(ports)) == (port, len(FRAMEWORKS))
        assert taken not in ports
        assert all(server.show().status_code == 200 for server in running.servers.values())


class two_ports:
    """A port that is free and its neighbour, which is taken."""

    def __enter__(self):
        for port in range(20000 + os.getpid() % 10000, 65000, 50):
            try:
                create_server(("127.0.0.1", port)).close()
                self.taken = create_server(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port, port + 1
        raise AssertionError("no port is free")

    def __exit__(self, *error):
        self.taken.close()


# -- the command -------------------------------------------------------------------------------------------------------


def run(folder, *arguments, **more):
    return subprocess.run([sys.executable, "-m", "demo", *arguments], cwd=folder, env=environment(**more),
                          capture_output=True, text=True, timeout=60)


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
    (["volatile", "--idle", "-1"], "idle_timeout must be a positive number of seconds"),
])
def test_a_mistake_is_one_line(arguments, words, tmp_path):
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert "s3cret" not in done.stderr + done.stdout


def test_a_server_that_is_not_installed_is_told():
    done = run(ROOT, "redis", "--check", PATH="/nowhere")
    assert done.returncode == 2
    assert "apt-get install redis-server" in done.stderr
    assert "STORE=redis://localhost/0" in done.stderr


def test_a_framework_that_is_not_installed_is_told(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['flask'] = None\n")
    done = run(tmp_path, "volatile", "--framework", "flask", "--port", "0", PYTHONPATH=beside(tmp_path))
    assert (done.returncode, done.stderr) == (2, "demo: Flask is not installed; pip install 'session2[flask]'\n")


def test_of_frameworks_that_are_broken_or_missing_the_others_are_served(tmp_path):
    (tmp_path / "flask.py").write_text("raise ImportError('Flask is of another age')\n")
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['quixote'] = sys.modules['django'] = None\n")
    done = run(tmp_path, "volatile", "--framework", "flask", "--port", "0", PYTHONPATH=beside(tmp_path))
    assert (done.returncode, done.stderr) == (2, "demo: Flask cannot be imported: Flask is of another age\n")
    with demo(tmp_path, "volatile", "--framework", "wsgi", path=beside(tmp_path)) as running:
        assert list(running.servers) == ["WSGI", "CherryPy", "Pyramid", "Starlette"]
        assert "Flask" not in running.first.show().text
        told = [running.process.stdout.readline() for _ in range(3)]
    assert told == ["  Quixote    not installed: .venv/bin/pip install 'session2[quixote]'\n",
                    "  Django     not installed: .venv/bin/pip install 'session2[django]'\n",
                    "  Flask      cannot be imported: Flask is of another age\n"]


def beside(folder):
    return os.pathsep.join([str(folder), str(ROOT), str(ROOT / "adapters")])


def test_a_server_that_does_not_start_says_why(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/redis-server").write_text("#!/bin/sh\necho 'the disk is on fire'; exit 1\n")
    (tmp_path / "bin/redis-server").chmod(0o755)
    done = run(tmp_path, "redis", PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert (done.returncode, done.stderr) == (2, "demo: redis did not start: the disk is on fire\n")


@pytest.mark.parametrize("make", [True, False])
def test_a_port_in_use_suggests_another(make, tmp_path, monkeypatch):
    monkeypatch.setenv("MAKELEVEL", "1") if make else monkeypatch.delenv("MAKELEVEL", raising=False)
    with create_server(("127.0.0.1", 0)) as busy:
        done = run(tmp_path, "volatile", "--port", str(busy.getsockname()[1]))
    assert done.returncode == 2
    found = re.search(r"try: make demo PORT=(\d+)$" if make else r"try: --port (\d+)$", done.stderr)
    create_server(("127.0.0.1", int(found[1]))).close()


@pytest.mark.parametrize("scheme", marked(["directory", "sqlite", "shelve", "durus"]))
def test_a_url_of_a_new_place_is_enough(scheme, tmp_path):
    with demo(tmp_path, f"{scheme}:{tmp_path}/new/deep/path", "--alone", "--framework", "wsgi") as running:
        running.first.keep()
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


def test_make_installs_two_frameworks_and_what_was_asked_for_and_tells_so(make):
    out, _ = make("demo", "FRAMEWORK=flask", "STORE=durus", "CAN_QUIXOTE=")
    assert "Installing into .venv for session2[cherrypy,durus,flask]: CherryPy, Durus, Flask\n" in out
    assert out.count("pip was run") == 1
    assert "the demo was run: -m demo durus --framework flask --host 127.0.0.1 --port 8080\n" in out
    out, _ = make("demo", "FRAMEWORK=flask", "STORE=durus", "CAN_QUIXOTE=", "IDLE=60")
    assert "pip was run" not in out
    assert "--port 8080 --idle 60\n" in out


def test_make_installs_quixote_where_it_can_be_built(make):
    out, _ = make("demo", "CAN_QUIXOTE=yes")
    assert "for session2[cherrypy,quixote]" in out
    assert "the demo was run: -m demo directory --framework quixote" in out
    out, _ = make("demo", "CAN_QUIXOTE=")
    assert "CherryPy serves the demo instead" in out
    assert "the demo was run: -m demo directory --framework cherrypy" in out


def test_make_installs_a_server_for_starlette(make):
    out, _ = make("demo", "FRAMEWORK=starlette", "CAN_QUIXOTE=")
    assert re.search("pip was run: .* uvicorn$", out, re.MULTILINE)


def test_make_help_names_every_target(make):
    out, _ = make("help")
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    for target in set(targets) - {"known", "python"}:
        assert re.search(rf"^make {target}\b", out, re.MULTILINE)
