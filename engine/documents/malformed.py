"""What is wrong with a piece of a sweep, before it is known where the piece stands."""


class Malformed(Exception):
    """A text, file or value that cannot be used; the message never repeats what may be a secret."""
