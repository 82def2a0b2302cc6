"""The one error of bundles."""

from netserv.errors import RemoteProtocolError


class BundleError(RemoteProtocolError):
    """A bundle or its `module.toml` breaks a rule; the text names the file and the rule."""
