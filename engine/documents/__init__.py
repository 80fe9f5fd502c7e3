"""Files that users write: YAML, TOML and JSON as plain values, and the line and column of each mistake."""
