"""Bundles of the suite's own applications, made where they are wanted: each publisher signs them with his own key."""

from mdht.signing import SigningKey
from netserv.apps.sources import app_files
from netserv.modules.bundle import Bundle, build_bundle, open_bundle


def app_bundle(name: str, key: SigningKey) -> tuple[bytes, Bundle]:
    """An application as a signed bundle: its bytes, and what they are.

    Args:
        name: `keep-alive` and the like.
        key: of the publisher.

    Raises:
        LocalProtocolError: there is no such application.
    """
    data = build_bundle(app_files(name), key)
    return data, open_bundle(data)
