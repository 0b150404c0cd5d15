"""What it means that an adapter works, as tests that drive a whole application over real HTTP: `AdapterSuite`.

Suppose an adapter for a framework.  Its test file holds one function, which runs in a server process of its own, and
one class::

    def serve(manager: SessionManager[PageSession], ready: Callable[[int], None], https: bool) -> None:
        application = ...       # leads every path to pages.answer(path, Call(...)); see session2.testing.adapter.pages
        server = ...            # on 127.0.0.1 and any free port
        ready(server.port)      # once it answers
        server.serve_forever()  # the suite ends the process

    class TestFramework(AdapterSuite):
        server = f"{__file__}:serve"
        threads = 10

With ``https`` the application must take every request for one over HTTPS, as behind a proxy that says so.  A page that
raises `pages.Redirect` or `pages.NotFound` is a redirection or a 404 as the framework has it; any other exception must
become the framework's own answer to a crash, with status 500.

The process is a fork of one that has imported the file, which must start no threads when it is imported.

The suite makes the manager (a directory store in an empty folder, `PageSession`, a `CookiePolicy`, a clock that it
moves), starts as many servers as a test needs, and stops them.  Nothing waits for time to pass: requests that are to
overlap meet at a `Gate`.  With a ``store_url`` of the class it is another store; what that declares that it cannot do
is skipped by name.
"""
