"""The statements of the store. Each function takes a connection that is in a transaction."""
