"""Finds the setting that helps if an endpoint rejects the format of a request.

Providers report an unknown or renamed parameter in different ways. The error then names the setting to
write into the sweep file, so that users need not know the request.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jobs.chat.shaping import PARAMETERS, Parameter, SystemRole

_STATUSES = frozenset({400, 404, 422})
_REFUSED = re.compile(
    r"unsupported|unrecogni[sz]ed|unknown|unexpected|extra[_ ](?:inputs|fields|forbidden)"
    r"|cannot find field|only the default|may only be|must be omitted|deprecated"
    r"|(?:\bnot|n't) (?:\w+ )?(?:support|permit|allow|accept|recogni[sz]|compatible)",
    re.IGNORECASE,
)
_SYSTEM_ROLE = re.compile(
    r"system (?:role|message|prompt|instruction)s? (?:is |are )?not (?:supported|enabled|allowed)"
    r"|does not support (?:'system'|system (?:role|message|prompt)s?)|developer instruction is not enabled"
    r"|roles must alternate|only user(?: and|,) (?:assistant|model) roles",
    re.IGNORECASE,
)
_DEVELOPER_ROLE = re.compile(
    r"[`'\"]developer[`'\"].*(?:expected one of|not one of|not supported|unexpected|invalid)"
    r"|(?:unknown|unexpected|unsupported|invalid) (?:variant|role|value)\S* [`'\"]?developer\b",
    re.IGNORECASE,
)
_NO_API_VERSION = re.compile(r"missing required query parameter:? '?api-version", re.IGNORECASE)
_TOKENS_RENAMED = re.compile(r"max_completion_tokens.{0,3}(?:instead| is required)", re.IGNORECASE)


def setting_for(
    status: int | None,
    message: str,
    *,
    names: Mapping[Parameter, str | None],
    system_role: SystemRole,
    extra: Mapping[str, Any],
    wants_api_version: bool = False,
) -> str | None:
    """What to write into the endpoint's settings after an error with this status and message.

    `names`, `system_role` and `extra` are the current settings; `wants_api_version` says that the address
    is on Azure and lacks the version that it needs. None for an error of another kind.
    """
    if status not in _STATUSES:
        return None
    settings = [*_parameter_names(message, names), *_other_settings(message, system_role, extra)]
    if (status == 404 and wants_api_version) or _NO_API_VERSION.search(message):
        settings.append("query: {api-version: ...}")
    return f"write {', '.join(settings)} in the endpoint" if settings else None


def _parameter_names(message: str, names: Mapping[Parameter, str | None]) -> Iterator[str]:
    refused = _REFUSED.search(message) is not None
    changed: dict[str, str] = {}
    for parameter in PARAMETERS:
        sent = names.get(parameter, parameter)
        if parameter == "max_tokens" and sent == parameter and _TOKENS_RENAMED.search(message):
            changed[parameter] = "max_completion_tokens"
        elif refused and sent is not None and _is_named(sent, message):
            changed[parameter] = "null"
    if changed:
        written = ", ".join(f"{parameter}: {name}" for parameter, name in changed.items())
        yield f"parameter_names: {{{written}}}"


def _other_settings(
    message: str, system_role: SystemRole, extra: Mapping[str, Any]
) -> Iterator[str]:
    if system_role is SystemRole.DEVELOPER and _DEVELOPER_ROLE.search(message):
        yield "system_role: system"
    elif system_role in (SystemRole.SYSTEM, SystemRole.DEVELOPER) and _SYSTEM_ROLE.search(message):
        yield "system_role: user"
    if _REFUSED.search(message):
        wrong = [name for name in extra if _is_named(name, message)]
        if wrong:
            yield f"extra_body without {', '.join(wrong)}"


def _is_named(parameter: str, message: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(parameter)}(?![\w-])", message) is not None
