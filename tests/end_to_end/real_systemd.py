"""A real systemd as the init of a host of the laboratory: in namespaces, on a copy of this machine's root directory.

What it writes goes to memory and ends with it; of this machine's own units none is started. Needs root.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tools.netlab import Host, Process, wait_until

BOOT_S: Final = 30.0
"Longest wait for a booted machine: 1 s on an idle one."
INIT: Final = Path("/lib/systemd/systemd")
# An overlay has what is below it on the same file system only: /dev, /proc and /sys are made anew.
_BOOT: Final = """\
set -e
base=$1 files=$2; shift 2
root=$base/root
mount --make-rprivate /
mount -t tmpfs tmpfs $base
mkdir $base/up $base/work $root
mount -t overlay overlay -o lowerdir=/,upperdir=$base/up,workdir=$base/work $root
mount -t tmpfs tmpfs $root/dev  # not this machine's own, into which systemd would write
for device in null zero full random urandom tty; do
    touch $root/dev/$device
    mount --bind /dev/$device $root/dev/$device
done
ln -s /proc/self/fd $root/dev/fd
mkdir $root/dev/shm $root/dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts $root/dev/pts
ln -s pts/ptmx $root/dev/ptmx
mount -t proc proc $root/proc
mount --bind $root/proc/sys $root/proc/sys
mount -o remount,bind,ro $root/proc/sys  # of one kernel
mount -t sysfs -o ro sysfs $root/sys
mount -t cgroup2 none $root/sys/fs/cgroup
mount -t tmpfs tmpfs $root/run
mount -t tmpfs tmpfs $root/tmp
# The service's user may pass the directories that this copy of the programs lies in, wherever that is.
for path in "$@"; do
    if [ ! -e $root$path ]; then  # below /tmp, or of another file system
        over=$(mktemp -d $base/over.XXXXXX)
        mkdir $over/up $over/work $root$path
        mount -t overlay overlay -o lowerdir=$path,upperdir=$over/up,workdir=$over/work $root$path
    fi
    chmod o+x $root$path
done
rm -rf $root/etc/systemd/system $root/etc/fstab $root/var/lib/private
mkdir -p $root/etc/systemd/system
cp -r $files/. $root/
for unit in systemd-udevd.service systemd-modules-load.service systemd-sysctl.service systemd-networkd.service \\
    network-online.target; do
    ln -s /dev/null $root/etc/systemd/system/$unit
done
cd $root
mkdir -p mnt/old
pivot_root . mnt/old
umount -l /mnt/old
mount --make-rshared /  # as credentials want it
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin {init} --unit=basic.target --show-status=no
"""


def cgroups() -> Path | None:
    """Where this process can make a control group of version 2; nothing if it cannot."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    own = Path("/proc/self/cgroup").read_text().partition("0::/")[2].partition("\n")[0]
    places = [Path(mount[4]) / own for mount in mounts if mount[mount.index("-") + 1] == "cgroup2"]
    return next((place for place in places if (place / "cgroup.procs").exists()), None)


class Systemd:
    """A booted machine."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._pid = 0

    def boot(self) -> None:
        """Wait until it has come up."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")

        def up() -> bool:
            assert self._process.poll() is None, self._process.log
            self._pid = int((children.read_text().split() or ["0"])[0])
            return self._pid > 0 and self.run("systemctl", "is-active", "basic.target", check=False) == "active\n"

        wait_until(up, BOOT_S, "systemd", lambda: self._process.log)

    def run(self, *words: str, check: bool = True) -> str:
        """Run a command as root of the machine; return what it prints."""
        entry = ["nsenter", f"--target={self._pid}", "--all", "--"]
        done = subprocess.run([*entry, *words], capture_output=True, text=True, check=False, timeout=BOOT_S)
        assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout


@contextmanager
def systemd(host: Host, files: Path, passed: list[Path]) -> Iterator[Systemd]:
    """Boot.

    Args:
        host: whose network it has.
        files: a directory with what is to be added to the root directory.
        passed: directories that every user may pass.
    """
    place = cgroups()
    assert place is not None
    group, base = place / f"{host.namespace}-systemd", host.directory / "systemd"
    group.mkdir()
    base.mkdir()
    script = host.directory / "boot.sh"
    script.write_text(_BOOT.replace("{init}", str(INIT)))
    new = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--cgroup"]
    words = host.command(*new, "sh", str(script), str(base), str(files), *map(str, passed))
    # Outside of the laboratory, which has a /sys of its own: in the group, as whose root the new machine sees it.
    enter = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group)]
    process = Process([*enter, *words], host.directory / "systemd.log", env=host.environment, stdin=None, stdout=None)
    try:
        machine = Systemd(process)
        machine.boot()
        yield machine
    finally:
        process.kill()  # and with it the machine's first process, and with that all others
        process.wait()

        def gone() -> bool:
            for each in sorted(group.rglob("*/"), reverse=True):
                with suppress(OSError):
                    each.rmdir()
            with suppress(OSError):
                group.rmdir()
            return not group.exists()

        wait_until(gone, BOOT_S, "end of all processes")
