from mdht.subnet.identity import Subnet, named
from mdht.subnet.kept import KEPT_S, LINKS_MAX, Kept, recalled, remembered


def kept(name: str, link: bytes, left_s: float) -> Kept:
    return Kept(subnet=Subnet(named(name), b"tagtagta"), fingerprint=link, founded_s=9.0, left_s=left_s)


def test_the_subnet_that_was_last_on_a_link_is_recalled() -> None:
    known = [kept("old", b"linklink", 500.0), kept("new", b"linklink", 20.0), kept("other", b"elsewhere", 1.0)]
    assert recalled(known, b"linklink") == known[1]
    assert recalled(known, b"nowhere!") is None


def test_after_seven_days_and_before_its_time_nothing_is_recalled() -> None:
    assert recalled([kept("lab", b"linklink", KEPT_S)], b"linklink") is not None
    assert recalled([kept("lab", b"linklink", KEPT_S + 1.0)], b"linklink") is None
    assert recalled([kept("lab", b"linklink", -1.0)], b"linklink") is None, "the clock was set back"


def test_one_subnet_of_each_link_is_kept_and_those_left_longest_ago_are_forgotten() -> None:
    known: tuple[Kept, ...] = ()
    for number in range(40):
        known = remembered(known, kept("lab", b"link%04d" % number, 100.0 - number))
    assert len(known) == LINKS_MAX
    assert {one.fingerprint for one in known} == {b"link%04d" % number for number in range(24, 40)}
    again = remembered(known, kept("new", b"link0030", 0.0))
    assert len(again) == LINKS_MAX
    assert recalled(again, b"link0030") == again[0]
    assert remembered([kept("old", b"linklink", KEPT_S + 1.0)], again[0]) == (again[0],)
