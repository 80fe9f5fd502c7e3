"""Templates of sweep files, which services offer."""

import re
from contextlib import suppress
from dataclasses import dataclass

from engine.core.errors import UsageError
from engine.documents.yaml import to_yaml
from engine.registry import Registry

_NAME = re.compile(r"^name: .*$", re.MULTILINE)
_KEY = re.compile(r"^ *(?!#)[^#\n]*\benv:([A-Za-z_][A-Za-z0-9_]*)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A commented sweep file over a service, which `nightsweep init` writes."""

    name: str
    service: str
    text: str

    @property
    def purpose(self) -> str:
        """Its purpose, in a few words."""
        return self.text.partition("\n")[0].removeprefix("# ")

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that keys are read from."""
        return tuple(dict.fromkeys(_KEY.findall(self.text)))

    def sweep(self, name: str, schema: str) -> str:
        """The text of a file with this name, and a first line that refers editors to its schema."""
        named = _NAME.sub(lambda _: f"name: {to_yaml(name)}", self.text, count=1)
        return f"# yaml-language-server: $schema={schema}\n{named}"


def templates(registry: Registry) -> list[Template]:
    """The templates of all installed services, sorted by name.

    Of two with the same name the first service's counts. Services that cannot be loaded are skipped.
    """
    found: dict[str, Template] = {}
    for service in registry.services:
        with suppress(UsageError):
            for name, text in registry.service(service).templates().items():
                found.setdefault(name, Template(name=name, service=service, text=text))
    return [found[name] for name in sorted(found)]
