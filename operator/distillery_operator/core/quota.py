"""Whether a quota that is exceeded can be waited for, read from the API server's message.

The message is that of Kubernetes' quota admission, in the refusal of an object or in an Event about a Job:
`exceeded quota: team, requested: pods=1,requests.cpu=2, used: pods=4,requests.cpu=7, limited: pods=5,requests.cpu=8`.
"""

from __future__ import annotations

import re

from distillery_operator.manifests.quantities import amount

_EXCEEDED = re.compile(r"exceeded quota: .*?requested: (?P<requested>.*?), used: .*?, limited: (?P<limited>\S*)")
_CUT = "exceeded quota: "
"""The message of an Event ends after 1,024 characters."""
_UNKNOWN = "status unknown for quota"
"""The quota was created a moment ago, and has not been counted yet."""


def frees_itself(message: str) -> bool:
    """Whether the message is about a quota that others use up now, so that there will be room once they end. A request
    that is larger than the whole quota never fits."""
    exceeded = _EXCEEDED.search(message)
    if exceeded is None:
        return _CUT in message or _UNKNOWN in message
    requested, limited = _amounts(exceeded["requested"]), _amounts(exceeded["limited"])
    return all(_fits(requested[name], limit) for name, limit in limited.items() if name in requested)


def _amounts(text: str) -> dict[str, str]:
    """`pods=1,requests.cpu=2` as a mapping."""
    return dict(each.split("=", 1) for each in text.split(",") if "=" in each)


def _fits(requested: str, limit: str) -> bool:
    """Whether there is room once nobody else uses any; a quantity that cannot be read is taken to fit."""
    wanted, available = amount(requested), amount(limit)
    return wanted is None or available is None or wanted <= available
