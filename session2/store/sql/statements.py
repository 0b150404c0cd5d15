"""The statements that all databases understand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..servers.once import BYTES, REMEMBERED
from .tables import quoted


def statements(table: str, quote: str, parts: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of all statements on a table, `own` among them or in place of those here.

    :param table: the table's name, quoted.
    :param quote: what identifiers are quoted with.
    :param parts: what each database writes in its way: ``marked``, the version as bytes before those of ``recent``.
    """
    names = {"table": table, "key": quoted("key", quote), "user": quoted("user", quote)}
    filled = {name: text.format(**names) for name, text in {**_PARTS, **parts}.items()}
    filled["remembered"] = f"substring({filled['marked']} FROM 1 FOR {BYTES * REMEMBERED})"
    return {name: text.format(**names, **filled) for name, text in {**_STATEMENTS, **own}.items()}


_PARTS: Final = {
    "record": "{key}, data, created, modified, accessed, expires, {user}, version",
    "is_live": "(expires IS NULL OR expires > %(now)s)",
    "is_session": "left({key}, 5) <> %(lock)s AND substring(data FROM 1 FOR 9) <> %(trace)s",
}

_STATEMENTS: Final = {
    "read": "SELECT {record} FROM {table} WHERE {key} = %(key)s",
    "standing": "SELECT {key}, version, recent, expires FROM {table} WHERE {key} = %(key)s",
    "replace": """UPDATE {table} SET data = %(data)s, version = %(version)s, created = %(created)s,
        modified = %(modified)s, accessed = %(accessed)s, expires = %(expires)s, {user} = %(owner)s,
        recent = {remembered}
        WHERE {key} = %(key)s AND version = %(expected)s AND {is_live}""",
    "touch": """UPDATE {table} SET accessed = %(accessed)s, expires = %(expires)s
        WHERE {key} = %(key)s AND accessed < %(accessed)s AND {is_live}""",
    "stands": "SELECT {key} FROM {table} WHERE {key} = %(key)s AND {is_live}",
    "remove": "DELETE FROM {table} WHERE {key} = %(key)s",
    "remove_version": "DELETE FROM {table} WHERE {key} = %(key)s AND version = %(expected)s",
    "page": "SELECT {record} FROM {table} WHERE {key} > %(after)s ORDER BY {key} LIMIT %(page)s",
    "page_of_user": """SELECT {record} FROM {table} WHERE {user} = %(owner)s AND {key} > %(after)s
        ORDER BY {key} LIMIT %(page)s""",
    "next_hour": "SELECT min(expires_hour) FROM {table} WHERE expires_hour > %(hour)s AND expires_hour <= %(until)s",
    "stride": """SELECT max({key}) FROM
        (SELECT {key} FROM {table} WHERE {key} > %(after)s ORDER BY {key} LIMIT %(stride)s) AS stride""",
    "delete_unused": """DELETE FROM {table} WHERE {key} > %(after)s AND {key} <= %(last)s
        AND accessed < %(limit)s AND {is_live} AND {is_session}""",
    "count": """SELECT count(*) FROM {table} WHERE {key} > %(after)s AND {key} <= %(last)s
        AND {is_live} AND {is_session}""",
}
