"""Addresses for pods, on this machine alone.

The API server refuses loopback addresses in EndpointSlices, so pods get addresses of 198.18.0.0/16 (reserved for
tests, RFC 2544). One local route makes a whole /24 of it this machine's own; each running node holds another /24.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import TextIO

SUBNETS = 256
HOSTS = 253


class AddressesUnavailable(Exception):
    """This user may not add the route; the text says what to do once."""


class Subnet:
    """One /24 that no other running node uses: `.1` is the node's address, the others are for pods.

    Raises AddressesUnavailable when the route is missing and this user may not add it.
    """

    def __init__(self, locks: Path) -> None:
        locks.mkdir(parents=True, exist_ok=True)
        self._number, self._lock = _claim(locks)
        self._mutex = threading.Lock()
        self._next = itertools.count()
        self._used: set[str] = set()
        _ensure_route(self.prefix, f"{self.prefix}.1")

    @property
    def prefix(self) -> str:
        """The first three numbers, such as 198.18.7."""
        return f"198.18.{self._number}"

    @property
    def node_address(self) -> str:
        """The node's own address."""
        return f"{self.prefix}.1"

    def take(self) -> str:
        """An address that no pod has; the one given back last comes last."""
        with self._mutex:
            for _ in range(HOSTS):
                address = f"{self.prefix}.{2 + next(self._next) % HOSTS}"
                if address not in self._used:
                    self._used.add(address)
                    return address
        raise RuntimeError(f"all {HOSTS} addresses of {self.prefix}.0/24 are in use")

    def release(self, address: str) -> None:
        """Let another pod have it."""
        with self._mutex:
            self._used.discard(address)

    def close(self) -> None:
        """Remove the route and let another node have the subnet."""
        _ip("del", self.prefix)
        self._lock.close()


def _claim(locks: Path) -> tuple[int, TextIO]:
    for number in range(SUBNETS):
        lock = (locks / f"{number}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            return number, lock
    raise AddressesUnavailable(f"All {SUBNETS} pod networks are in use: other cluster tests are running.")


def _ensure_route(prefix: str, address: str) -> None:
    """Make the subnet local, unless it is: a person may have added the route for all subnets."""
    if _is_local(address):
        return
    _ip("replace", prefix)
    if _is_local(address):
        return
    raise AddressesUnavailable(
        "The process node needs addresses for pods and may not add them: run once (until the next start of the "
        "machine) `sudo ip route add local 198.18.0.0/16 dev lo`, or run the tests as root."
    )


def _is_local(address: str) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _ip(verb: str, prefix: str) -> None:
    """Change the route; whether that worked shows in whether the address can be used."""
    ip = shutil.which("ip") or "/usr/sbin/ip"
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not Path(ip).exists() or (as_root and shutil.which("sudo") is None):
        return
    subprocess.run(
        [*as_root, ip, "route", verb, "local", f"{prefix}.0/24", "dev", "lo"], capture_output=True, check=False
    )
