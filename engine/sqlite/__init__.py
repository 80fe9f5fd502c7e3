"""Private SQLite files: for the store, and for the ledger of the service."""
