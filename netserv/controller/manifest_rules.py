"""Whether a bundle is what its SETUP says, and what of its wishes the operator grants."""

from netserv.controller.jobs import Reason, Wanted
from netserv.controller.policy import Policy, PublisherRules
from netserv.modules.manifest import Manifest, PortWish
from netserv.signaling.nslp.codes import Code
from netserv.signaling.nslp.values import version_numbers


def manifest_fault(manifest: Manifest, wanted: Wanted, policy: Policy) -> Reason | None:
    """What is wrong with a bundle; None for nothing."""
    setup, target = wanted.setup, wanted.setup.target
    if manifest.name != target.name or not same_version(manifest.version, target.version):
        return Reason(Code.BAD_REQUEST, f"the bundle is {manifest.name}_{manifest.version}, not {target}")
    if wanted.located is not None and (manifest.kind != "server" or manifest.ports):
        return Reason(Code.FORBIDDEN, "what is fetched for other modules is a server without ports, and this is not")
    if manifest.kind == "server" and setup.filter_ports:
        return Reason(Code.BAD_REQUEST, "the bundle is a server module, and filter-port gives it packets")
    if manifest.kind == "packet" and not setup.filter_ports:
        return Reason(Code.BAD_REQUEST, "the bundle is a packet module, and no filter-port gives it any")
    rules = policy.publishers.get(setup.user)
    if rules is None:
        return Reason(Code.FORBIDDEN, f"publisher {setup.user} is not known here any more")
    refused = [wish for wish in manifest.ports if wish not in rules.ports]
    if refused:
        ports = ", ".join(f"{wish.proto}/{wish.port}" for wish in refused)
        return Reason(Code.FORBIDDEN, f"{setup.user} may not listen on {ports} here")
    return None


def granted_ports(manifest: Manifest, rules: PublisherRules) -> tuple[PortWish, ...]:
    """The ports that a module may listen on."""
    return tuple(wish for wish in manifest.ports if wish in rules.ports)


def same_version(one: str, other: str) -> bool:
    """Whether two texts say one version: final zeros do not count."""
    try:
        return version_numbers(one) == version_numbers(other)
    except ValueError:
        return False
