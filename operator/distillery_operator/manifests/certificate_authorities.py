"""The certificate authorities that the stages trust, as part of their Pods, where the installation names some."""

from __future__ import annotations

from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.manifests.settings import ManifestSettings

_VOLUME = "certificate-authorities"
_FOLDER = "/etc/distillery-authorities"


def authority_volumes(settings: ManifestSettings) -> tuple[Manifest, ...]:
    """The volume with the certificates."""
    authorities = settings.certificate_authorities
    return ({"name": _VOLUME, "configMap": {"name": authorities.config_map}},) if authorities else ()


def authority_mounts(settings: ManifestSettings) -> tuple[Manifest, ...]:
    """Where the container finds them."""
    mount = {"name": _VOLUME, "mountPath": _FOLDER, "readOnly": True}
    return (mount,) if settings.certificate_authorities else ()


def authority_environment(settings: ManifestSettings) -> tuple[Manifest, ...]:
    """The variable from which OpenSSL, and with it every Python client, takes them."""
    authorities = settings.certificate_authorities
    return ({"name": "SSL_CERT_FILE", "value": f"{_FOLDER}/{authorities.key}"},) if authorities else ()
