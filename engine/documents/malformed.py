"""The error of a text, file or value that cannot be read, raised before its file or key is known."""

DUPLICATE_KEY = "the key occurs twice: keep one"


class Malformed(Exception):
    """A text, file or value that cannot be used. The message never quotes what may be a secret.

    `index` is the position of the mistake in `text`, None if unknown. With an index, `str(error)`
    begins with line and column; `message` never does. `path` names the key of a mistake in a key.
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
    """The line and column of an index in a text, both from 1 and in characters; lines end in \\n."""
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)
