"""Private SQLite files: used for the store and for the ledger of the service."""
