"""The command line: it parses and prints, nothing more."""

from engine.cli.main import main

__all__ = ["main"]
