"""Enkrypt AI: model health, as a client, as an evaluation and as the gate of other sweeps."""

from jobs.enkrypt.client import Client
from jobs.enkrypt.health import EnkryptHealth, EnkryptHealthSettings
from jobs.enkrypt.service import Enkrypt, EnkryptSettings

__all__ = ["Client", "Enkrypt", "EnkryptHealth", "EnkryptHealthSettings", "EnkryptSettings"]
