"""What is wrong with a text, a file or a value, before it is known which file or key it belongs to."""

DUPLICATE_KEY = "the key is there twice: keep one"


class Malformed(Exception):
    """A text, file or value that cannot be used; the message never repeats what may be a secret.

    `index` is where in `text` the mistake is, where that is known: then `str()` begins with its line
    and column, and `message` does not. `path` names the key, where the mistake is one of a key.
    """

    def __init__(
        self, message: str, *, text: str = "", index: int | None = None, path: str = ""
    ) -> None:
        self.message = message
        self.path = path
        self.text = text
        self.index = index
        where = ""
        if index is not None:
            line, column = line_and_column(text, index)
            where = f"line {line}, column {column}: "
        super().__init__(where + message)


def line_and_column(text: str, index: int) -> tuple[int, int]:
    """The line and column of an index in a text, both from 1."""
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)
