"""The tables."""

APPLICATION = 0x65764C42  # "evLB", so that another program's file is not taken for a store
VERSION = 1

TABLES = """
CREATE TABLE environments (
    hash TEXT PRIMARY KEY,
    told TEXT NOT NULL               -- JSON: versions and machine
) STRICT;
CREATE TABLE trials (
    id TEXT PRIMARY KEY,             -- hash of claim, config, measured_by and code
    claim TEXT NOT NULL,
    config TEXT NOT NULL,            -- JSON, with its seed
    measured_by TEXT NOT NULL,       -- hash of the claim's measuring code
    code TEXT NOT NULL,              -- hash of evenflow's code and of the libraries' versions
    status TEXT NOT NULL CHECK (status IN ('done', 'failed')),
    error TEXT NOT NULL,
    seconds REAL NOT NULL,
    finished TEXT NOT NULL,          -- UTC
    environment TEXT NOT NULL REFERENCES environments
) STRICT;
CREATE INDEX trials_by_claim ON trials (claim);
CREATE TABLE metrics (
    trial TEXT NOT NULL REFERENCES trials,
    name TEXT NOT NULL,
    value REAL,                      -- NULL for NaN
    PRIMARY KEY (trial, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE curves (
    trial TEXT NOT NULL REFERENCES trials,
    name TEXT NOT NULL,
    points BLOB NOT NULL,            -- little-endian float64
    PRIMARY KEY (trial, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE predictions (
    claim TEXT NOT NULL,
    hash TEXT NOT NULL,              -- of statement, prediction and ranges
    told TEXT NOT NULL,              -- JSON: title, statement, source, prediction, ranges
    fixed TEXT NOT NULL,             -- UTC: before its first trial
    PRIMARY KEY (claim, hash)
) STRICT;
CREATE TABLE verdicts (
    claim TEXT NOT NULL,
    budget TEXT NOT NULL,
    base_seed INTEGER NOT NULL,
    prediction TEXT NOT NULL,
    measured_by TEXT NOT NULL,
    code TEXT NOT NULL,
    verdict TEXT NOT NULL,           -- JSON
    figure TEXT NOT NULL,            -- JSON
    trials INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    seconds REAL NOT NULL,           -- of computing, over its trials
    source TEXT NOT NULL,            -- how it is named on the command line
    made TEXT NOT NULL,
    PRIMARY KEY (claim, budget, base_seed)
) STRICT;
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    command TEXT NOT NULL,
    budget TEXT NOT NULL,
    base_seed INTEGER NOT NULL,
    engine TEXT NOT NULL,
    workers INTEGER NOT NULL,
    process INTEGER NOT NULL,
    host TEXT NOT NULL,
    started TEXT NOT NULL,
    seen TEXT NOT NULL,              -- when the driver last wrote
    ended TEXT,                      -- NULL while it runs, or when it was killed
    how TEXT,                        -- 'finished', 'interrupted', 'failed'
    environment TEXT NOT NULL REFERENCES environments
) STRICT;
CREATE TABLE planned (
    run INTEGER NOT NULL REFERENCES runs,
    claim TEXT NOT NULL,
    trials INTEGER NOT NULL,         -- in the design
    missing INTEGER NOT NULL,        -- of them, not yet measured when the run began
    done INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run, claim)
) STRICT, WITHOUT ROWID;
"""
