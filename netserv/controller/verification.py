"""Whether a bundle is one, and its publisher's: the signer of the bundle is the `user` of the request."""

from netserv.modules.bundle import open_bundle, verify
from netserv.modules.errors import BundleError
from netserv.modules.manifest import Manifest
from netserv.signaling.nslp.codes import Code, NslpError


def opened(data: bytes, keys: tuple[bytes, ...]) -> Manifest:
    """The manifest of a bundle that one of some keys has signed.

    Raises:
        NslpError: it is no bundle (400), or none of them has (401).
    """
    try:
        bundle = open_bundle(data)
    except BundleError as error:
        raise NslpError(f"the bundle: {error}") from None
    try:
        verify(bundle, keys)
    except BundleError as error:
        raise NslpError(str(error), code=Code.UNAUTHORIZED) from None
    return bundle.manifest
