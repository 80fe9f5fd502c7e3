"""The addresses of databases on PostgreSQL servers, as libpq writes them, but without passwords."""

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from engine.core.errors import UsageError
from engine.core.nearest import suggestion

EXAMPLE = "postgresql://user@host/database"
SCHEMES = ("postgresql", "postgres")
"""The schemes of these addresses."""
_OPTIONS = frozenset(
    [
        "application_name",
        "channel_binding",
        "connect_timeout",
        "gssdelegation",
        "gssencmode",
        "gsslib",
        "host",
        "hostaddr",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "krbsrvname",
        "load_balance_hosts",
        "max_protocol_version",
        "min_protocol_version",
        "options",
        "passfile",
        "port",
        "require_auth",
        "requirepeer",
        "service",
        "servicefile",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcertmode",
        "sslcrl",
        "sslcrldir",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslrootcert",
        "sslsni",
        "target_session_attrs",
        "tcp_user_timeout",
    ]
)
"""The settings of libpq that an address may have: neither secrets nor what has a place of its own."""
_SECRETS = frozenset(
    ["password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"]
)
_HOST = re.compile(r"(?P<host>\[[0-9a-fA-F:.%]+\]|[^:\[\]]*)(:(?P<port>.*))?", re.DOTALL)
_PORT_MAX = 65_535
# Characters that need no escape in each part. A folder of sockets as a host has slashes, which do.
_IN_HOST = "[]:%-._~"
_IN_OPTION = "/:,-._~"


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The address of a database on a PostgreSQL server: `parse_address` makes it.

    It holds no password: libpq takes that from PGPASSWORD, PGPASSFILE, ~/.pgpass or a certificate when it
    connects.
    """

    url: str
    """As messages and commands show it. Equal addresses are written alike."""

    def __str__(self) -> str:
        return self.url


def parse_address(url: str) -> ServerAddress:
    """The address in `postgresql://user@host:port/database?options`, every part of which but the database may be missing.

    There may be several hosts, separated by commas. Raises UsageError for one that contains a password or is no
    such address; the message quotes nothing that could be part of a password.
    """
    scheme, _, rest = url.partition(":")
    _check_form(scheme.lower(), rest)
    rest = rest.removeprefix("//")
    # A password may contain any character, even unescaped ones, so whatever is before the last @ counts.
    user, at, place = rest.rpartition("@")
    if ":" in user:
        raise _password_error()
    if set(user) & set("/?#"):
        raise UsageError(f"{scheme}://: write %40 for an @ that does not follow the user")
    if "#" in place:
        raise UsageError(
            f"{scheme}://: an address has no part after #; write %23 for that character"
        )
    address, _, written = place.partition("?")
    hosts, _, database = address.partition("/")
    options = _parse_options(written)
    if "/" in database:
        raise UsageError(f"{scheme}://: write %2F for a / in the name of the database")
    if not database and "service" not in options:
        raise UsageError(f"{scheme}://: names no database; write {EXAMPLE}")
    who = f"{quote(unquote(user), safe='')}@" if at else ""
    where = ",".join(map(_parse_host, hosts.split(",")))
    what = quote(unquote(database), safe="")
    how = "&".join(
        f"{name}={quote(value, safe=_IN_OPTION)}" for name, value in sorted(options.items())
    )
    return ServerAddress(f"postgresql://{who}{where}/{what}" + (f"?{how}" if how else ""))


def _check_form(scheme: str, rest: str) -> None:
    kind, plus, _ = scheme.partition("+")
    assert kind in SCHEMES, scheme
    if plus:
        raise UsageError(f"{scheme}: the address of a store names no driver; write {EXAMPLE}")
    if not rest.startswith("//"):
        raise UsageError(
            f"{scheme}: has two slashes before the host; write {EXAMPLE}"
            " (as a text: a Path makes one slash of several)"
        )
    if any(one.isspace() or not one.isprintable() for one in rest):
        raise UsageError(f"{scheme}://: has a space or a control character; write %20 for a space")
    if not unquote(rest).isprintable():
        raise UsageError(f"{scheme}://: has an escaped control character")


def _parse_host(written: str) -> str:
    """One host with its port, in the one way in which it is written; either may be empty."""
    found = _HOST.fullmatch(written)
    if found is None:
        raise UsageError(
            "postgresql://: the host is not valid; an IPv6 address is in brackets: [::1]"
        )
    port = found["port"]
    if port and not (port.isascii() and port.isdecimal() and 0 < int(port) <= _PORT_MAX):
        raise UsageError(
            f"postgresql://: the port is no number from 1 to {_PORT_MAX:,}; write"
            f" {EXAMPLE.replace('host', 'host:5432')}, without a password"
        )
    host = quote(unquote(found["host"]), safe=_IN_HOST)
    # Folders of sockets are the only hosts whose case matters.
    host = host if "%2F" in host else host.lower()
    return f"{host}:{int(port)}" if port else host


def _parse_options(written: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for one in written.split("&") if written else ():
        name, equals, value = one.partition("=")
        name = unquote(name)
        if name in _SECRETS:
            raise _password_error()
        if name not in _OPTIONS:
            hint = suggestion(name, sorted(_OPTIONS))
            raise UsageError(f"postgresql://: unknown option {name!r:.100} of the address{hint}")
        if not equals or not value:
            raise UsageError(f"postgresql://: the option {name} of the address has no value")
        if name in options:
            raise UsageError(f"postgresql://: the address has the option {name} twice")
        options[name] = unquote(value)
    return options


def _password_error() -> UsageError:
    return UsageError(
        "postgresql://: the address of a store contains no password, which other users and logs would see;"
        f" write {EXAMPLE}, and put the password into ~/.pgpass or PGPASSWORD"
    )
