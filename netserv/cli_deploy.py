"""`netserv deploy` and `netserv remove`: a publisher's module on the nodes of a path."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
import trio

from mdht.journal import printable
from netserv.cli_ask import signer_of, waited_for, way_of
from netserv.controller.authorization import check_path
from netserv.errors import LocalProtocolError
from netserv.modules.bundle import BUNDLE_BYTES_MAX, Bundle, open_bundle
from netserv.publisher.deploying import Deployment, NodeResult, check_signer, removed_at_the_end, result_of
from netserv.publisher.serving import Offer, url_of
from netserv.publisher.wishes import Wish, check_wish, remove_of
from netserv.signaling.asking import Signer
from netserv.signaling.gist.addresses import address_text
from netserv.signaling.nslp.values import ModuleRef, Property
from netserv.signaling.sessions import Session, session


async def run(options: argparse.Namespace) -> int:
    """Deploy or remove, and say what became of it on each node.

    Returns:
        0 done on a node at least, 1 on none.

    Raises:
        NetservError: a file cannot be used, nobody is on the path, or no answer came.
    """
    signer = signer_of(options)
    if signer is None:
        raise LocalProtocolError("give --key and --user: nodes install nothing that nobody has signed")
    if options.command == "remove":
        return await _remove(options, signer)
    return await _deploy(options, signer)


async def _remove(options: argparse.Namespace, signer: Signer) -> int:
    wish = Wish(user=signer.user, notification=options.notification, node_id=options.node_id)
    async with session(options.toward, signer, way_of(options)) as path:
        request = remove_of(options.target, wish)
        reply = await waited_for(f"the nodes toward {options.toward}", path.ask(request))
    results = tuple(map(result_of, reply.response.nearest_first()))
    Table(options.toward, str(options.target), as_json=options.json).told(results)
    return 0 if any(one.is_active or one.is_under_way for one in results) else 1


async def _deploy(options: argparse.Namespace, signer: Signer) -> int:
    data, bundle = await trio.to_thread.run_sync(_opened, options.file)
    check_signer(bundle.signer, signer.key.public_key)
    wish = msgspec.structs.replace(
        wish_of(options, signer, options.property), notification=options.notification, node_id=options.node_id
    )
    check_wish(bundle.manifest, wish)
    host = options.toward or options.near_user
    if options.near_user is not None:
        from netserv.publisher.near_user import near_user  # noqa: PLC0415 - all that finds nodes

        name = await near_user(host, bundle.manifest, user=signer.user, key=options.key, timeout_s=options.timeout)
        wish = msgspec.structs.replace(wish, node_id=name)
    table = Table(host, bundle.manifest.reference, as_json=options.json)
    async with session(host, signer, way_of(options)) as path, trio.open_nursery() as nursery:
        deployment = await offered(options, nursery, path, (data, bundle), wish)
        table.begin()
        work = deployment.install(options.wait, table.told)
        if options.keep:
            async with removed_at_the_end(deployment):
                await waited_for(f"the nodes toward {host}", work)
                await deployment.keep(table.told)
        else:
            await waited_for(f"the nodes toward {host}", work)
        nursery.cancel_scope.cancel()
    return 0 if any(one.is_active for one in deployment.results) else 1


def wish_of(options: argparse.Namespace, signer: Signer, properties: Iterable[Property]) -> Wish:
    """How a module is to be installed, with the packets that the options name."""
    return Wish(
        user=signer.user,
        ttl_s=options.ttl,
        filter_ports=options.filter_port,
        filter_proto=options.filter_proto,
        filter_dst=options.filter_dst,
        properties=tuple(properties),
    )


async def offered(
    options: argparse.Namespace, nursery: trio.Nursery, path: Session, packed: tuple[bytes, Bundle], wish: Wish
) -> Deployment:
    """A deployment along a path of a bundle and its bytes; what nodes are to fetch is served while `nursery` lasts."""
    data, bundle = packed
    name, source = f"{bundle.manifest.reference}.zip", address_text(path.flow.source)
    url, prove = options.url, None
    if url is None:
        offer = Offer()
        offer.put_bundle(name, data)
        host, port = options.serve or (source, 0)
        listening = await nursery.start(offer.serve, (host or source, port))
        url = url_of(listening, name)
    if options.prove is not None:
        host, port = options.prove
        proofs = Offer("--prove")
        await nursery.start(proofs.serve, (host or source, port))
        prove = proving(proofs)
    return Deployment(path, bundle.manifest, data, url=url, wish=wish, prove=prove)


def proving(offer: Offer) -> Callable[[ModuleRef, str], None]:
    """Puts one-time passwords where nodes look for them."""
    return lambda module, word: offer.put_password(check_path(module), word)


class Table:
    """Prints how things stand on the nodes, whenever that changes.

    Args:
        toward: where the path leads.
        module: which it is about.
        as_json: one object for each change.
    """

    def __init__(self, toward: str, module: str, *, as_json: bool) -> None:
        self._toward, self._module, self._json = toward, module, as_json
        self._begun: float | None = None

    def begin(self) -> None:
        """From now on say how long it has taken."""
        self._begun = trio.current_time()

    def told(self, results: Sequence[NodeResult]) -> None:
        """Print."""
        elapsed_s = None if self._begun is None else round(trio.current_time() - self._begun, 3)
        if self._json:
            fields = {"module": self._module, "toward": self._toward, "nodes": [*map(msgspec.to_builtins, results)]}
            after = {} if elapsed_s is None else {"elapsed_s": elapsed_s}
            print(msgspec.json.encode(fields | after).decode(), flush=True)
            return
        took = "" if elapsed_s is None else f", after {elapsed_s:.3f} s"
        print(f"{self._module} toward {self._toward}{took}:" if results else f"no node answered for {self._module}")
        width = max((len(one.node_id) for one in results), default=0)
        for number, one in enumerate(results, 1):
            ttl = "" if one.ttl_s is None else f", for {one.ttl_s} s"
            print(f"{number:>3}  {one.node_id:<{width}}  {one.address}  {one.code} {printable(one.text)}{ttl}")
        sys.stdout.flush()


def _opened(path: Path) -> tuple[bytes, Bundle]:
    try:
        with path.open("rb") as file:
            data = file.read(BUNDLE_BYTES_MAX + 1)
    except OSError as error:
        raise LocalProtocolError(f"{path}: {error.strerror or error}") from error
    return data, open_bundle(data)
