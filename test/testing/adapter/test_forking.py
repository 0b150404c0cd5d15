"""Where the servers of the adapter suite come from: what befalls it must not befall the tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from session2.testing.adapter.website import Site

ADAPTERS = Path(__file__).with_name("plain_adapters.py")


def test_a_server_may_have_processes_of_its_own(tmp_path: Path) -> None:
    with Site(f"{ADAPTERS}:beside_a_process", tmp_path) as site:
        assert site.request("/").status == 200


def test_who_interrupts_the_tests_has_them_stop_the_servers(tmp_path: Path) -> None:
    with Site(f"{ADAPTERS}:sound", tmp_path) as site:
        for pid in (site._fork_server._process.pid, *(server.pid for server in site._running)):
            os.kill(pid, signal.SIGINT)  # as a terminal does it to all of them
        assert site.request("/").status == 200
        site.stop()
        site.start()
        assert site.request("/").status == 200


def test_nobody_reads_the_answer_to_what_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with Site(f"{ADAPTERS}:sound", tmp_path) as site:
        monkeypatch.setattr(site._fork_server._pipe, "recv", interrupted)
        with pytest.raises(KeyboardInterrupt):
            site.stop()
        site.stop()
    with Site(f"{ADAPTERS}:sound", tmp_path) as site:
        assert site.request("/").status == 200
