"""The address of a chat API, and the sentence for each kind of address that is not one.

A teacher's key never belongs into an address: manifests, logs and status show it.
"""

from __future__ import annotations

import json
import re
from typing import Annotated

from pydantic import Field

from distillery_api.base import Rule, matches


def has_no(pattern: str, message: str) -> Rule:
    """The rule of a text that `pattern` (RE2) matches nowhere."""
    compiled = re.compile(pattern)
    return Rule(f"!self.matches({json.dumps(pattern)})", message, lambda text: compiled.search(text) is None)


def _ipv6() -> str:
    """The forms of RFC 4291, section 2.2: eight groups, of which one run of zeros may be written as `::`."""
    group, octet = "[0-9a-fA-F]{1,4}", "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
    ipv4 = rf"{octet}(\.{octet}){{3}}"
    abbreviated = [f"({group}:){{{left}}}(:{group}){{1,{7 - left}}}" for left in range(1, 7)]
    with_ipv4 = [f"({group}:){{{left}}}:({group}:){{0,{5 - left}}}{ipv4}" for left in range(1, 6)]
    return "|".join(
        [
            f"({group}:){{7}}{group}",
            f"({group}:){{1,7}}:",
            f":(:{group}){{1,7}}",
            "::",
            *abbreviated,
            f"({group}:){{6}}{ipv4}",
            f"::({group}:){{0,5}}{ipv4}",
            *with_ipv4,
        ]
    )


_LABEL = "[a-zA-Z0-9_]([-a-zA-Z0-9_]{0,61}[a-zA-Z0-9_])?"
HOST = rf"({_LABEL}(\.{_LABEL})*\.?|\[({_ipv6()})\])"
PORT = "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
_PATH = "(/[-a-zA-Z0-9._~!$&'()*+,;=:@%]*)*"

_AZURE = "/openai/deployments/"
_AZURE_OPERATION = f"{_AZURE}[-a-zA-Z0-9._%]+/chat/completions[?]api-version=[-a-zA-Z0-9.]+"


def is_azure_deployment(url: str) -> bool:
    """Whether this is the target URI of a deployment on Azure, which names the operation and the version of the API,
    and takes the key in the header `api-key`."""
    return re.search(f"{_AZURE_OPERATION}$", url) is not None


def _beside_azure(rule: Rule) -> Rule:
    """A rule that the target URI of a deployment on Azure need not keep."""
    return Rule(
        f"self.matches({json.dumps(_AZURE_OPERATION + '$')}) || {rule.expression}",
        rule.message,
        lambda url: is_azure_deployment(url) or rule.holds(url),
    )


Endpoint = Annotated[
    str,
    Field(max_length=1024),
    has_no(
        "^[^/]*//[^/?#]*@",
        "has a user or a password in it, which anyone could read; remove what stands before @, and name a Secret"
        " that holds the key in apiKey",
    ),
    _beside_azure(
        has_no(
            _AZURE,
            "is not the whole target URI of an Azure deployment; use"
            " https://RESOURCE.openai.azure.com/openai/deployments/NAME/chat/completions?api-version=VERSION, or"
            " https://RESOURCE.openai.azure.com/openai/v1 with the name of the deployment as model",
        )
    ),
    _beside_azure(
        has_no(
            "/(chat/completions|completions|responses|messages)/?([?#].*)?$",
            "is the address of a single operation, not the base URL of a server; end it before that, for example with"
            " /v1",
        )
    ),
    _beside_azure(
        has_no(
            "[?#]",
            "not the base URL of a server, since it has a query or a fragment; remove everything from ? or # on, write"
            " parameters into query, and name a Secret that holds the key in apiKey",
        )
    ),
    matches(
        f"^https?://{HOST}(:{PORT})?{_PATH}([?]api-version=[-a-zA-Z0-9.]+)?$",
        "not the base URL of a server; use for example https://teacher.example/v1, without spaces, with a port from 1"
        " to 65535, an IPv6 address in brackets, and characters beyond ASCII as xn--… or %…",
    ),
]
"""The base URL of a chat API, including its version; or the target URI of a deployment on Azure."""
