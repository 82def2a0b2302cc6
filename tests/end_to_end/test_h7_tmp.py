import time
import pytest
from tests.end_to_end.test_same_names import bridge, wait_until
from tests.end_to_end.test_same_names import world, importers

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("n", [0, 0, 0, 0.1, 0.1, 0.2])
def test_quick(world, n):
    world.avahi_a.publish("Twice", "_twice._tcp", 1)
    bridge(world.a, "--export", "_twice._tcp", "--key", "pair", "--site", "one")
    serving, standing = importers(world)
    said = standing.log.count("imported Twice")
    time.sleep(n)
    started = time.monotonic()
    assert serving.stop() == 0
    stopped = time.monotonic()
    wait_until(lambda: standing.log.count("imported Twice") > said, 12, "take-over", lambda: standing.log)
    print(f"\nQUICK {n} taken over {time.monotonic() - started:.2f} s (stop took {stopped - started:.2f})")


@pytest.mark.parametrize("n", range(6))
def test_family(world, n):
    ex = bridge(world.a, "--export", "_twice._tcp", "--key", "pair", "--site", "one")
    wait_until(lambda: "exporting" in ex.log, 10, "ready", lambda: ex.log)
    world.avahi_a.publish("Twice", "_twice._tcp", 1)
    wait_until(lambda: "exported" in ex.log, 10, "exp", lambda: ex.log)
    time.sleep(1.5)
    print("\nFAMILY", [l for l in ex.log.splitlines() if l.startswith(("exported", "updated"))])
