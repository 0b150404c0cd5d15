"""The statements of the SQLite store; ``table`` and the names of its indexes are filled in."""

# ruff: noqa: S608 (the statements are put together from the constants here and a checked name, never from values)

MARK = "session2 schema 1"

# The comment is part of what SQLite keeps of the table, so that a table can be told to be ours.
#
# `due` is when a purge has to look at the row: never later than `expires`, but often earlier.  Saves and touches move
# `expires` all the time; as a rule they leave `due` and `user` alone and so have no index to update, which would add
# two thirds to their time.  A purge that meets a live row moves its `due`.
TABLE = f"""CREATE TABLE {{table}} ( -- {MARK}
    key TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    created REAL NOT NULL,
    modified REAL NOT NULL,
    accessed REAL NOT NULL,
    expires REAL,
    due REAL,
    user TEXT,
    data BLOB NOT NULL
)"""
DUE_INDEX = "CREATE INDEX {due_index} ON {table} (due) WHERE due IS NOT NULL"
USER_INDEX = "CREATE INDEX {user_index} ON {table} (user) WHERE user IS NOT NULL"
DROP = "DROP TABLE {table}"

_COLUMNS = "data, created, modified, accessed, expires, user, version"
_LIVE = "(expires IS NULL OR expires > :now)"
_INDEXES_HOLD = "(:expires IS NULL OR due <= :expires)"
_TIMES = "created = :created, modified = :modified, accessed = :accessed, expires = :expires"

# What a request that changes something executes takes its values by place: SQLite looks for each name.
READ = f"SELECT {_COLUMNS}, key FROM {{table}} WHERE key = ? AND (expires IS NULL OR expires > ?)"
INSERT = f"""INSERT INTO {{table}} (key, version, created, modified, accessed, expires, due, user, data)
    VALUES (:key, :version, :created, :modified, :accessed, :expires, :expires, :user, :data)
    ON CONFLICT (key) DO UPDATE SET version = :version, {_TIMES}, due = :expires, user = :user, data = :data
    WHERE expires <= :now"""
REPLACE_HOT = """UPDATE {table}
    SET version = ?, created = ?, modified = ?, accessed = ?, expires = ?, data = ?
    WHERE key = ? AND version = ? AND (expires IS NULL OR expires > ?) AND user IS ? AND (? IS NULL OR due <= ?)"""
REPLACE = f"""UPDATE {{table}} SET version = :version, {_TIMES}, due = :expires, user = :user, data = :data
    WHERE key = :key AND version = :expected AND {_LIVE}"""
TOUCH_HOT = f"""UPDATE {{table}} SET accessed = :accessed, expires = :expires
    WHERE key = :key AND accessed < :accessed AND {_LIVE} AND {_INDEXES_HOLD}"""
TOUCH = f"""UPDATE {{table}} SET accessed = :accessed, expires = :expires, due = :expires
    WHERE key = :key AND accessed < :accessed AND {_LIVE}"""
REMOVE = "DELETE FROM {table} WHERE key = :key"
REMOVE_EXPECTED = "DELETE FROM {table} WHERE key = :key AND version = :expected"
PAGE = f"SELECT rowid, key, {_COLUMNS} FROM {{table}} WHERE rowid > :after AND {_LIVE} ORDER BY rowid LIMIT :batch"
PAGE_OF_USER = f"""SELECT rowid, key, {_COLUMNS} FROM {{table}}
    WHERE user = :user AND rowid > :after AND {_LIVE} ORDER BY rowid LIMIT :batch"""
_DUE = "rowid IN (SELECT rowid FROM {table} WHERE due <= :now ORDER BY due LIMIT :batch)"
PURGE = f"DELETE FROM {{table}} WHERE {_DUE} AND expires <= :now"
POSTPONE = f"UPDATE {{table}} SET due = expires WHERE {_DUE} AND {_LIVE}"
# A stretch of so many rows; of it goes what nobody used, but for locks and traces.  (Of no bytes substr is NULL.)
STRETCH = """SELECT max(rowid) FROM (SELECT rowid FROM {table} WHERE rowid > :after ORDER BY rowid LIMIT :batch)"""
PURGE_UNUSED = """DELETE FROM {table} WHERE rowid > :after AND rowid <= :last AND accessed < :since
    AND substr(key, 1, length(:lock)) <> :lock AND substr(data, 1, length(:mark)) IS NOT :mark"""

STATEMENTS = (TABLE, DUE_INDEX, USER_INDEX, DROP, READ, INSERT, REPLACE_HOT, REPLACE, TOUCH_HOT, TOUCH,
               REMOVE, REMOVE_EXPECTED, PAGE, PAGE_OF_USER, PURGE, POSTPONE, STRETCH, PURGE_UNUSED)
