"""Encrypted connections to the SQL servers: the certificate and the name in it are checked, or nothing is sent."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from servers_sql import Certificate, MariaServer, PostgresServer, Server

from session2 import DictSession, from_url
from session2.errors import ConfigurationError, StoreUnavailable
from session2.record import Record
from session2.store.base import SessionStore
from session2.store.mysql import MySQLSessionStore
from session2.store.postgres import PostgresSessionStore

IS_ENCRYPTED = {PostgresServer: "SELECT ssl::int FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
                MariaServer: "SHOW SESSION STATUS LIKE 'Ssl_cipher'"}
WHICH = {PostgresServer: "SELECT pg_backend_pid()", MariaServer: "SELECT connection_id()"}


def certified(folder: Path, host: str) -> Certificate:
    """Make a certificate for a host that is its own authority."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string(f"CN={host}")
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(),
                                now - datetime.timedelta(days=1), now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256()))
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))
    return files


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certified(tmp_path_factory.mktemp("localhost"), "localhost")


@pytest.fixture(scope="module", params=IS_ENCRYPTED)
def server(request: pytest.FixtureRequest, certificate: Certificate) -> Iterator[Server]:
    server = request.param(certificate=certificate)
    yield server
    server.close()


def stored(server: Server, host: str, authority: Path) -> SessionStore:
    """Store a session over a connection to a server of this name, with a certificate of this authority."""
    store = from_url(f"{server.url.replace('127.0.0.1', host)}?ssl_ca={authority}")
    store.setup()
    store.save_session(DictSession())
    return store


def answer(store: Any, question: str) -> Any:
    """Return what the server answers to whoever has the next connection of a store."""
    def ask(connection: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(question)
            return cursor.fetchone()

    return store._connections.use(ask)


def test_connection_is_encrypted(server: Server, certificate: Certificate) -> None:
    store = stored(server, "localhost", certificate[0])
    assert answer(store, IS_ENCRYPTED[type(server)])[-1] not in (0, "")
    store.close()


def test_an_encrypted_connection_is_used_again(server: Server, certificate: Certificate) -> None:
    store = stored(server, "localhost", certificate[0])
    first = answer(store, WHICH[type(server)])
    store.save_session(DictSession())
    assert answer(store, WHICH[type(server)]) == first
    store.close()


def test_a_change_does_not_go_over_a_connection_that_the_server_has_ended(server: Server,
                                                                          certificate: Certificate) -> None:
    store = stored(server, "localhost", certificate[0])
    server.stop()
    server.start()
    store.write("a" * 64, Record(b"new", 1.0, 1.0, 1.0), None)  # whether it was carried out could not be told
    assert store.read("a" * 64) is not None
    store.close()


def test_other_authority_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
        stored(server, "localhost", certified(tmp_path, "localhost")[0])


def test_other_name_is_refused(server: Server, certificate: Certificate) -> None:
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1"):
        stored(server, "127.0.0.1", certificate[0])


@pytest.mark.parametrize("name", ["postgres", "mariadb"])
def test_server_without_encryption_is_refused(name: str, certificate: Certificate,
                                              request: pytest.FixtureRequest) -> None:
    with pytest.raises(StoreUnavailable, match="SSL"):
        stored(request.getfixturevalue(name), "localhost", certificate[0])


def test_connections_there_are_cannot_be_secured_afterwards(server: Server) -> None:
    store_class: Any = {PostgresServer: PostgresSessionStore, MariaServer: MySQLSessionStore}[type(server)]
    with server.open() as connection, pytest.raises(ConfigurationError, match="ssl_ca"):
        store_class(connection, ssl_ca="authority.pem")
