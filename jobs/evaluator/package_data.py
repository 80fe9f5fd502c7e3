"""Data files of the package: instructions, rubric, scale, lexicon."""

from hashlib import sha256
from importlib.resources import files
from typing import TypeVar

from pydantic import BaseModel

from engine.documents.document import YAML
from engine.documents.reading import decode_text

T = TypeVar("T", bound=BaseModel)


def read_package_data(model: type[T], package: str, name: str) -> tuple[T, str]:
    """The contents of a YAML file of a package, and its SHA-256, which is part of a result's identity.

    A file that does not fit the model is a bug in the package: raises ValidationError or Malformed.
    """
    content = (files(package) / name).read_bytes()
    return model.model_validate(YAML.read(decode_text(content))), sha256(content).hexdigest()
