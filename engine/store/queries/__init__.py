"""The statements that a store runs: each function is given a connection that is in a transaction."""
