"""The changes of the store, by subject."""
