"""Paths in settings, in which `~` is the home folder."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field


def _expand_home(path: str) -> str:
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        raise ValueError(f"{path} is in the home folder of an unknown user") from None


LocalPath = Annotated[str, Field(min_length=1), AfterValidator(_expand_home)]
