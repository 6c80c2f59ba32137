-- The store of version 2, as it was released. Never changes.
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
INSERT INTO meta VALUES ('instance', lower(hex(randomblob(8))));
CREATE TABLE orgs (
    slug TEXT PRIMARY KEY, name TEXT NOT NULL, engine TEXT NOT NULL, template TEXT NOT NULL
) STRICT;
CREATE TABLE workspaces (
    org TEXT NOT NULL REFERENCES orgs(slug) ON DELETE CASCADE, key TEXT NOT NULL,
    position INTEGER NOT NULL, name TEXT NOT NULL, runtime TEXT NOT NULL, tier INTEGER NOT NULL,
    external INTEGER NOT NULL, url TEXT, outcome TEXT NOT NULL, reason TEXT,
    PRIMARY KEY (org, key)
) STRICT;
CREATE TABLE operations (
    id TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(8)))),
    org TEXT NOT NULL, kind TEXT NOT NULL, began_ms INTEGER NOT NULL, ended_ms INTEGER
) STRICT;
CREATE INDEX operations_of_org ON operations(org, ended_ms);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, operation TEXT NOT NULL, at_ms INTEGER NOT NULL,
    workspace TEXT, step TEXT, body TEXT NOT NULL
) STRICT;
CREATE INDEX events_of_operation ON events(operation, workspace);ALTER TABLE operations ADD COLUMN state TEXT NOT NULL DEFAULT 'running';
UPDATE operations SET state = 'done' WHERE ended_ms IS NOT NULL;
ALTER TABLE operations ADD COLUMN workspace TEXT;
ALTER TABLE operations ADD COLUMN request TEXT NOT NULL DEFAULT 'null';
ALTER TABLE operations ADD COLUMN failed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE operations ADD COLUMN errors TEXT NOT NULL DEFAULT '[]';
ALTER TABLE events ADD COLUMN org TEXT NOT NULL DEFAULT '';
UPDATE events SET org = coalesce(json_extract(body, '$.org'), '');
CREATE INDEX events_of_org ON events(org, seq);
ALTER TABLE workspaces ADD COLUMN id TEXT;
ALTER TABLE workspaces ADD COLUMN wanted TEXT NOT NULL DEFAULT 'running';
CREATE UNIQUE INDEX workspaces_by_id ON workspaces(id);
CREATE TABLE sources (
    org TEXT PRIMARY KEY REFERENCES orgs(slug) ON DELETE CASCADE,
    snapshot TEXT NOT NULL, request TEXT NOT NULL, at_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE sealed (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE tokens (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, scope TEXT NOT NULL, hash BLOB NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL, expires_ms INTEGER, revoked_ms INTEGER, used_ms INTEGER
) STRICT;
CREATE TABLE answers (
    caller TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, at_ms INTEGER NOT NULL,
    status INTEGER, headers TEXT, body BLOB, PRIMARY KEY (caller, key)
) STRICT;
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, caller TEXT NOT NULL, name TEXT NOT NULL,
    address TEXT NOT NULL, action TEXT NOT NULL, target TEXT NOT NULL, status INTEGER, request TEXT NOT NULL
) STRICT;
CREATE INDEX audit_refused ON audit(seq) WHERE status IN (401, 403);
PRAGMA user_version = 2;
