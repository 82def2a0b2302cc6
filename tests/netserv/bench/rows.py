"""Rows of a measurement that never was."""

from netserv.bench.results import Crowd, Delay, Found, Rate, Throughput


def rate(configuration: str, plane: str, round_: int, per_s: float, ratio: float, size: int = 340) -> Rate:
    return Rate(
        plane=plane,
        configuration=configuration,
        bytes=size,
        round=round_,
        packets_per_s=per_s,
        ratio=ratio,
        sender_ns=400.0,
        broker_ns=600.0,
        container_ns=1_000.0,
        untreated=0.0,
        lost=0.0,
    )


def delay(configuration: str, plane: str, round_: int, median_us: float, p99_us: float, base_us: float = 10.0) -> Delay:
    return Delay(
        plane=plane,
        configuration=configuration,
        bytes=340,
        round=round_,
        median_us=median_us,
        p99_us=p99_us,
        added_us=median_us - base_us,
        lost=0,
    )


def crowd(containers: int, round_: int, ratio: float, mb: float = 4.5) -> Crowd:
    return Crowd(
        plane="xdp",
        containers=containers,
        round=round_,
        packets_per_s=ratio * 2e6,
        ratio=ratio,
        untreated=0.0,
        lost=0.0,
        mb_mean=mb,
        mb_max=mb + 1,
        ready_ms=20.0,
        loaded_ms=30.0,
    )


def throughput(configuration: str, plane: str, per_s: float, ratio: float, *, bounded: bool = False) -> Throughput:
    return Throughput(
        plane=plane,
        configuration=configuration,
        bytes=340,
        round=1,
        packets_per_s=per_s,
        ratio=ratio,
        lost=0.0,
        bounded=bounded,
    )


FOUND = Found(
    rates=(
        rate("netfilter rules", "none", 1, 2e6, 1.0),
        rate("netfilter rules", "none", 2, 1e6, 1.0),
        rate("netfilter rules", "none", 3, 3e6, 1.0),
        rate("KeepAlive", "xdp", 1, 1.2e6, 0.60),
        rate("KeepAlive", "xdp", 2, 0.5e6, 0.50),
        rate("KeepAlive", "xdp", 3, 2.1e6, 0.70),
        rate("container", "netfilter", 1, 0.2e6, 0.10),
    ),
    delays=(
        delay("netfilter rules", "none", 1, 10.0, 20.0),
        delay("container", "xdp", 1, 50.0, 210.0),
        delay("container", "xdp", 2, 40.0, 190.0),
        delay("container", "xdp", 3, 30.0, 180.0),
    ),
    throughputs=(
        throughput("netfilter rules", "none", 1e6, 1.0),
        throughput("container", "netfilter", 0.25e6, 0.25),
        throughput("flow accepted", "xdp", 2e6, 2.0, bounded=True),
    ),
    crowds=(crowd(1, 1, 0.5), crowd(100, 1, 0.2, 5.5), crowd(100, 2, 0.4, 4.5)),
)
