"""The JobError for an exception that an exchange ended with: no connection, or a broken one."""

import errno
import re
import socket
import ssl
from typing import cast

import aiohttp
import httpx

from engine.kinds import (
    Disconnected,
    JobError,
    Permanent,
    TimedOut,
    Transient,
    Unreachable,
    machine_fault,
)
from jobs.http.network import Proxy, proxy_connection_error
from jobs.http.text import Redactor, plain

# Raised before a byte of the request was written, so the request was surely not carried out.
_NOT_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
# The answer ended early, or never began. An answer that is not valid HTTP is none of these.
_DISCONNECTED = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError)
_INVALID_URL = (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)
_REASONS: dict[int | None, str] = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.ENETUNREACH: "the network is unreachable",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ETIMEDOUT: "connecting took too long",
}


def error_from_exception(
    where: str, error: Exception, *, proxy: Proxy | None, redact: Redactor
) -> JobError:
    """The error of a job whose exchange `where` raised `error`; returned, not raised.

    Only Unreachable and Permanent were surely not sent. The detail is one printable line without secrets.
    """
    # The transport raises ConnectTimeout for every lost connection; the cause has the actual error.
    cause = cast(Exception, error.__cause__ or error)
    if (fault := machine_fault(cause, where)) is not None:
        return fault
    detail = plain(f"{type(cause).__name__}: {cause}", redact)
    if proxy is not None:
        failure = proxy_connection_error(where, proxy, cause, detail)
        if failure is not None:
            return failure
    if isinstance(cause, _NOT_CONNECTED) or _is_untrusted(cause):
        reason = _why_not_connected(cause)
        return Unreachable(f"{reason} ({where})", detail=_connection_detail(cause, redact))
    if isinstance(cause, _INVALID_URL):
        return Permanent(f"the address is not a URL ({where})", detail=detail, sent=False)
    if isinstance(error, httpx.TimeoutException) and isinstance(cause, TimeoutError):
        return TimedOut(f"the server was silent for too long ({where})", detail=detail)
    kind = Disconnected if isinstance(cause, _DISCONNECTED) else Transient
    return kind(f"the connection failed ({where})", detail=detail)


def _why_not_connected(cause: Exception) -> str:
    if _is_untrusted(cause):
        return (
            "the server's certificate is not trusted; if it was issued by your own authority, name the"
            " authority's PEM file in ca_file or SSL_CERT_FILE"
        )
    if isinstance(cause, aiohttp.ClientConnectorDNSError):
        number = getattr(cause.os_error, "errno", None)
        if number == socket.EAI_AGAIN:
            return "the host's name could not be looked up; is this machine online?"
        if number != errno.EACCES:
            return "the host's name does not exist"
        # Our own resolver knows the name, but refuses its address; the detail has its message.
    if isinstance(cause, TimeoutError):
        return "connecting took too long"
    return _REASONS.get(_errno_of(cause), "no connection could be made")


def _errno_of(cause: Exception) -> int | None:
    """The system's error number of a failed connection; the first of several addresses counts."""
    error = getattr(cause, "os_error", cause)
    number = getattr(error, "errno", None)
    if number is None and (match := re.search(r"\[Errno (\d+)\]", str(error))):
        return int(match[1])
    return number


def _connection_detail(cause: Exception, redact: Redactor) -> str:
    """What the exception adds to `_why_not_connected`; empty if it adds nothing."""
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        error = cause.certificate_error
        return plain(getattr(error, "verify_message", "") or str(error), redact)
    if _errno_of(cause) in _REASONS:
        return ""
    return plain(f"{type(cause).__name__}: {cause}", redact)


def _is_untrusted(cause: BaseException) -> bool:
    """Whether the server's certificate was rejected; through a proxy, the cause of the cause says so."""
    return isinstance(cause, aiohttp.ClientConnectorCertificateError) or isinstance(
        cause.__cause__ or cause.__context__, ssl.SSLCertVerificationError
    )
