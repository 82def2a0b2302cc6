"""What the command says to the processes of a measurement, and what they answer: a line of JSON each."""

from typing import TypeAlias

import msgspec


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Answer as soon as you are there."""


class Generate(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Send as much as comes back."""

    seconds: float
    bytes: int
    notify: bool
    flows: int
    window: int


class Generated(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What was sent, what came back by either end, and the processor time that sending took."""

    sent: int
    came: int
    used_s: float


class Offer(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Send by the clock, whatever comes back."""

    seconds: float
    bytes: int
    notify: bool
    packets_per_s: float


class Offered(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What was sent in that time, and what came back by either end."""

    sent: int
    came: int
    under_way: int
    "When the last one was sent."
    seconds: float


class Time(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Send one packet after the other, a thousand a second."""

    seconds: float
    bytes: int
    notify: bool


class Timed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From the call that sends a packet until the kernel has it at the other end."""

    delays_us: list[float]
    lost: int


class Open(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Be a node with a forwarding plane."""

    plane: str


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """It is one."""

    plane: str
    compiled: bool
    broker: int


class Install(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Have packets of some ports go to containers, one for each port.

    Besides the applications `net-monitor` and `keep-alive` there are `accept`, which lets packets pass, and `flow`,
    which lets flows pass. `none`: packets are taken to user space, where nobody wants them.
    """

    module: str
    ports: tuple[int, ...]
    offload: bool
    "Whether NetMonitor may have the kernel count."


class Installed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """They do."""

    containers: list[int]
    "Processes."
    ready_ms: list[float]
    "From the request until the walls of each container have been tested."
    loaded_ms: list[float]
    "Until its module runs and gets its packets."


class Clear(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Take all of them away."""


class Count(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Say what was counted."""


class Counted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Of all filters together, since they were installed."""

    counters: dict[str, int]


class Weigh(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Say how much memory containers take."""


class Weighed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Proportional set size of each container."""

    pss_mb: list[float]


class Done(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """It is done."""


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """It is not; the text is for the user."""

    reason: str


Order: TypeAlias = Hello | Generate | Offer | Time | Open | Install | Clear | Count | Weigh
Answer: TypeAlias = Generated | Offered | Timed | Opened | Installed | Counted | Weighed | Done | Refused
order_decoder = msgspec.json.Decoder[Order](Order)
answer_decoder = msgspec.json.Decoder[Answer](Answer)
