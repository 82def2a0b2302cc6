"""Control groups on a host of a laboratory: `ip netns exec` hides them behind a /sys of its own."""

from pathlib import Path
from typing import Final

WHERE: Final = Path("/sys/fs/cgroup")
_NOT_OF_CGROUPS: Final = frozenset({"rw", "relatime", "nosuid", "nodev", "noexec"})
"Options of any mount; the others say which hierarchy it is."


def with_cgroups(*argv: str) -> list[str]:
    """The words that run a program where this machine's control groups are in their place, in its mount namespace."""
    lines = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    mounts = [line for line in lines if Path(line[1]).is_relative_to(WHERE)]
    script = ["set -e"]
    for _source, path, kind, options, *_rest in mounts:
        script.append(f"mkdir -p {path}")
        if kind == "cgroup":
            controllers = ",".join(word for word in options.split(",") if word not in _NOT_OF_CGROUPS)
            script.append(f"mount -t cgroup -o {controllers} none {path}")
        else:
            script.append(f"mount -t {kind} none {path}")
    return ["sh", "-c", "; ".join([*script, 'exec "$@"']), "sh", *argv]
