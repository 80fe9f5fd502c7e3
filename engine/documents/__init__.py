"""Files that people write: YAML, TOML and JSON as plain values, and their mistakes told by their place."""
