"""The address of a chat API: IPv6 addresses are those that Python's own reader knows."""

import ipaddress

from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from distillery_api.spec.endpoints import Endpoint

ENDPOINT = TypeAdapter(Endpoint)


def is_accepted(url: str) -> bool:
    try:
        ENDPOINT.validate_python(url)
    except ValidationError:
        return False
    return True


def is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


@settings(deadline=None)
@given(st.lists(st.sampled_from(["1", "ab", ":", "::", "f00d", "1.2.3.4", "1.2.3.256", "g"]), max_size=17).map("".join))
@example("1:2:3:4:5:6:7:8")
@example("1:2:3:4:5:6:1.2.3.4")
@example("::ffff:10.0.0.1")
def test_address_in_brackets_is_an_ipv6_address(text):
    assert is_accepted(f"http://[{text}]:8000/v1") is is_ipv6(text)
