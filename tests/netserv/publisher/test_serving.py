import pytest
import trio

from mdht.http_io import Request
from netserv.errors import LocalProtocolError
from netserv.publisher.serving import Offer, url_of


def asked(offer: Offer, path: str, method: str = "GET") -> tuple[int, bytes]:
    answer = offer.answer(Request(method=method, path=path, headers={}))
    return answer.status, answer.body


def test_only_what_is_offered_is_served() -> None:
    offer = Offer()
    offer.put_bundle("one.zip", b"bundle")
    assert asked(offer, "/one.zip") == (200, b"bundle")
    assert asked(offer, "/two.zip")[0] == 404
    assert asked(offer, "/one.zip", "POST")[0] == 405
    assert offer.refuse(503).status == 503
    assert dict(offer.answers) == {200: 1, 404: 1, 405: 1, 503: 1}


def test_a_password_takes_the_place_of_the_one_before() -> None:
    offer = Offer()
    for word in ("first", "second"):
        offer.put_password("/.well-known/netserv/One_1.0", word)
    assert asked(offer, "/.well-known/netserv/One_1.0") == (200, b"second")


async def test_an_address_that_is_taken_is_told_with_the_option_that_names_another() -> None:
    async with trio.open_nursery() as nursery:
        where = await nursery.start(Offer().serve, ("127.0.0.1", 0))
        with pytest.raises(ExceptionGroup) as caught:
            async with trio.open_nursery() as inner:
                await inner.start(Offer("--prove").serve, where)
        error = caught.value.exceptions[0]
        assert isinstance(error, LocalProtocolError)
        assert "--prove" in str(error)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("address", "expected"),
    [(("10.1.0.2", 8080), "http://10.1.0.2:8080/a.zip"), (("2001:db8::1", 80), "http://[2001:db8::1]:80/a.zip")],
)
def test_the_url_of_a_bundle(address: tuple[str, int], expected: str) -> None:
    assert url_of(address, "a.zip") == expected
