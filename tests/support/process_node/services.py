"""What all pods of a node share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from cluster_binaries import Binaries
from process_node.addresses import Subnet
from process_node.faults import Faults
from process_node.image import Image
from process_node.kube_api import KubeApi
from process_node.service_names import ServiceNames


@dataclass
class NodeServices:
    """The node's connections, folders and orders.

    `variables` are in every container's environment; `restart_backoff_s` is the first pause of a crash loop (a
    kubelet's is 10 s); `lost` is set while the node pretends to have vanished.
    """

    name: str
    api: KubeApi
    binaries: Binaries
    images: dict[str, Image]
    faults: Faults
    folder: Path
    subnet: Subnet
    names: ServiceNames
    variables: dict[str, str]
    restart_backoff_s: float = 1.0
    lost: threading.Event = field(default_factory=threading.Event)
