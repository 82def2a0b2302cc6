"""Checks of messages that came along a flow (RFC 5971 sections 5.8.1.2, 5.8.1.3, 7.2)."""

from typing import Final

from netserv.signaling.gist.commons import Commons
from netserv.signaling.gist.effects import Caught
from netserv.signaling.gist.errors import ErrorCode, GistError, RoutingFault, TypeFault, ValueFault
from netserv.signaling.gist.faults import object_value
from netserv.signaling.gist.messages import Data, Query
from netserv.signaling.gist.objects.mri import Direction, LooseEndMri, Mri, PathCoupledMri
from netserv.signaling.gist.tlv import ObjectType, framed, wrong_type

UPSTREAM_IP_TTL_MIN: Final = 254
"Who looks against the flow sends with 255; it may have come one IP hop (section 5.8.1.3)."
_TRANSLATED: Final = (int(ObjectType.MRI), int(ObjectType.NLI))
"What a NAT has to translate in a Query; the first 16 bits of its header."


def check_flow(commons: Commons, mri: Mri, packet: Caught) -> None:
    """See that a flow can have brought a Q-mode message here.

    Raises:
        GistError: it cannot.
    """
    if not isinstance(mri, PathCoupledMri) and mri.direction is Direction.UPSTREAM:
        raise _value("this routing method has no way upstream", mri, ValueFault.INVALID_COMBINATION)
    if len(mri.source) != len(packet.source[0]):
        commons.counters.wrong_ip_version += 1
        raise _routing("the flow has another IP version than the packet", mri, RoutingFault.IP_VERSION)
    if isinstance(mri, LooseEndMri):
        return
    prefix = mri.source_prefix if isinstance(mri, PathCoupledMri) else 8 * len(mri.source)
    if mri.direction is Direction.UPSTREAM:
        if packet.ip_ttl < UPSTREAM_IP_TTL_MIN:
            commons.counters.wrong_ip_ttl += 1
            raise GistError("it came more than one IP hop against the flow", code=ErrorCode.INVALID_IP_TTL)
    elif packet.interface and not commons.topology.may_come_from(mri.source, prefix, packet.interface):
        commons.counters.ingress_refused += 1
        raise _routing("the flow cannot come by this interface", mri, RoutingFault.INGRESS_FILTER)


def check_query(commons: Commons, query: Query, packet: Caught) -> None:
    """See that a Query is what its sender sent, and where it may be.

    Raises:
        GistError: it is not.
    """
    check_nat(commons, query, packet)
    check_flow(commons, query.mri, packet)
    if len(query.nli.address) != len(query.mri.source):
        info = (object_value(framed(ObjectType.NLI, query.nli.encode()), 6),)
        text = "the NLI has another IP version than the flow"
        raise GistError(text, code=ErrorCode.OBJECT_VALUE_ERROR, subcode=ValueFault.NOT_SUPPORTED, info=info)


def check_nat(commons: Commons, message: Query | Data, packet: Caught) -> None:
    """Find NATs: those that know nothing of GIST (section 7.2.1), and those that left something out (7.2.3).

    Raises:
        GistError: there is one.
    """
    nli, nat = message.nli, message.nat
    untranslated = None
    if nat is not None:
        untranslated = next((kind for kind in _TRANSLATED if kind not in nat.translated_types), None)
    elif message.source_is_signaller and nli is not None and nli.address != packet.source[0]:
        untranslated = int(ObjectType.MRI)
    if untranslated is not None:
        commons.counters.untranslated += 1
        raise wrong_type("a NAT on the path has not translated it", TypeFault.UNTRANSLATED, untranslated)


def _routing(text: str, mri: Mri, fault: RoutingFault) -> GistError:
    info = (object_value(framed(ObjectType.MRI, mri.encode()), 0),)
    return GistError(text, code=ErrorCode.MRI_VALIDATION_FAILURE, subcode=fault, info=info)


def _value(text: str, mri: Mri, fault: ValueFault) -> GistError:
    info = (object_value(framed(ObjectType.MRI, mri.encode()), 0),)
    return GistError(text, code=ErrorCode.OBJECT_VALUE_ERROR, subcode=fault, info=info)
