"""The tables of `fabric.db`, and how a row's id carries its revision.

`log` is the history and holds every value once; its rows are only ever added at the end.
`kv` points at the newest row of each key that exists, and is kept by triggers, so that one
statement, which is its own SQL transaction, writes a whole group.
"""

from infrafabric_server.store.data_format import DATA_FORMAT

# Of the tables. The records in them have another number.
FORMAT = 1
# "IFab": tells our files from other programs' databases.
APPLICATION_ID = 0x49466162

# A row's id is `revision << SHIFT | place`: at most 8,192 changes share a revision.
SHIFT = 13

# The rows of `meta`. compacted: no revision before it can be asked for. swept: up to this id
# of the log, what compaction makes superfluous is gone. probe: counts the checks that a
# write is possible. data_format: that of the records; a database without it is an old one.
META = frozenset({"compacted", "swept", "probe"})

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('compacted', 1), ('swept', 0), ('probe', 0);
CREATE TABLE log (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL,
  value TEXT,  -- NULL: the key was deleted
  create_revision INTEGER NOT NULL,
  version INTEGER NOT NULL,
  lease INTEGER NOT NULL,
  previous INTEGER NOT NULL  -- id of the row that this one made out of date, or 0
);
CREATE TABLE kv (
  key TEXT PRIMARY KEY,
  id INTEGER NOT NULL,
  create_revision INTEGER NOT NULL,
  version INTEGER NOT NULL,
  lease INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX kv_lease ON kv (lease) WHERE lease <> 0;
CREATE TABLE leases (id INTEGER PRIMARY KEY AUTOINCREMENT, ttl REAL NOT NULL);
CREATE TRIGGER log_put AFTER INSERT ON log WHEN new.value IS NOT NULL BEGIN
  INSERT INTO kv VALUES (new.key, new.id, new.create_revision, new.version, new.lease)
  ON CONFLICT (key) DO UPDATE SET id = excluded.id, create_revision = excluded.create_revision,
    version = excluded.version, lease = excluded.lease;
END;
CREATE TRIGGER log_delete AFTER INSERT ON log WHEN new.value IS NULL BEGIN
  DELETE FROM kv WHERE key = new.key;
END;
CREATE VIEW live AS
  SELECT kv.key, log.value, kv.create_revision, kv.id, kv.version, kv.lease
  FROM kv JOIN log ON log.id = kv.id;
"""
# What a database of ours is known by: part of the same transaction, so that a half-made one looks
# like none.
MARKS = f"""
INSERT INTO meta SELECT 'data_format', {DATA_FORMAT};
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
"""

# A text sorts before every blob, so a range without an upper end ends here.
AFTER_ALL_KEYS = b""


def first_id(revision: int) -> int:
    """Return the smallest id that a row of `revision` can have."""
    return revision << SHIFT


def revision_of(id_: int) -> int:
    """Return the revision of the row with this id."""
    return id_ >> SHIFT
