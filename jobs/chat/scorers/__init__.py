"""What a chat sweep asks of each reply: comparisons, a schema, a function of the user, a judge."""
