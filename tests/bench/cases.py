# SPDX-License-Identifier: BSD-3-Clause
"""What is compared: loads, their flags, and the figures of their reports."""

from dataclasses import dataclass, field

# Path in the report, title. The first of each is what a chart shows.
GENERATOR = [("own_cpu_us_per_packet", "generator CPU, µs a packet"),
             ("own_cpu_percent", "generator busy, % of a core")]
PACKET = [("server_cpu_us_per_packet", "server CPU, µs a packet"),
          ("packets_per_s", "packets/s"),
          ("latency_us.p99", "p99 latency, µs"), *GENERATOR]
PACED = [("server_cpu_us_per_packet", "server CPU, µs a packet"),
         ("latency_us.p50", "p50 latency, µs"),
         ("latency_us.p99", "p99 latency, µs"),
         ("latency_us.p999", "p99.9 latency, µs"),
         ("late_us", "generator late at worst, µs"), *GENERATOR]
LATENCY = [*PACED[1:4], PACED[0], *PACED[4:]]
CONNECT = [("server_cpu_us_per_connect", "server CPU, µs a connect"),
           ("connects_per_s", "connects/s"),
           ("own_cpu_us_per_connect", "generator CPU, µs a connect"), GENERATOR[1]]
IDLE = [("memory.rss_kib_per_client", "RSS, KiB a client"),
        ("memory.pss_kib_per_client", "PSS, KiB a client"),
        ("memory.anon_kib_per_client", "anonymous, KiB a client"),
        ("connect.server_cpu_us_per_connect", "server CPU, µs a connect"),
        ("connect.own_cpu_us_per_connect", "generator CPU, µs a connect")]
SLOW = [("held_age_max_ms", "oldest the server held, ms"),
        ("held_age_p50_ms", "median age of those, ms"),
        ("held_packets", "packets that it held"),
        ("kernel_packets", "packets in kernel buffers"),
        ("kernel_bytes", "bytes in kernel buffers"),
        ("others_rate_ratio", "others: packets/s, to before"),
        ("others_p99_ratio", "others: p99, to before"),
        ("server_cpu_us_per_packet", "server CPU, µs a packet"), *GENERATOR]


@dataclass
class Case:
    title: str
    tls: bool
    args: list
    metrics: list
    yardstick: bool = False  # also through haproxy, which carries the bytes alone
    search: bool = False     # open loop, at a rate that is searched for
    # Seconds of each run when nothing else is asked for; None: the general ones.
    seconds: float = None
    faults: list = field(default_factory=lambda: [
        "lost", "reordered", "late", "corrupt", "misdelivered", "duplicated", "failures",
        "disconnects", "skipped", "timeouts", "slow_faults"])


def _all():
    cases = {}
    for wire in "tls", "plain":
        for size in 1400, 100:
            for pairs in 1, 4, 16, 64:
                many, tls = "s" if pairs > 1 else "", "TLS" if wire == "tls" else "plain"
                cases[f"bulk-{wire}-{size}-{pairs}"] = Case(
                    f"bulk, {pairs} pair{many}, {tls}, {size:,} B",
                    wire == "tls",
                    ["bulk", "-pairs", str(pairs), "-window", "28", "-size", str(size)],
                    PACKET, yardstick=size == 1400 and pairs == 16)
    for clients in 500, 2000:
        cases[f"chatter-{clients}"] = Case(
            f"chatter, {clients:,} TLS clients, 20 packets/s each", True,
            ["chatter", "-clients", str(clients)], PACED)
    for clients in 2000, 8000:
        cases[f"idle-{clients}"] = Case(f"idle, {clients:,} TLS clients", True,
                                        ["idle", "-clients", str(clients)], IDLE, seconds=1)
    cases["churn"] = Case("churn: connect, log in, one packet, close", True, ["churn"], CONNECT)
    cases["slow"] = Case("one receiver stops reading for 1.5 s, 16 pairs go on", True,
                         ["slow", "-pairs", "16"], SLOW)
    cases["latency"] = Case("open loop, 16 pairs, 70 % of the first server's loss-free rate", True,
                            ["bulk", "-pairs", "16", "-window", "4096", "-size", "1400"], LATENCY,
                            search=True)
    for clients in 10, 100, 1000, 8000:
        cases[f"scale-clients-{clients}"] = Case(
            f"scale, {clients:,} clients with a flow each, 20,000 packets/s in all", True,
            ["scale", "-clients", str(clients), "-flows", str(clients)], PACED)
    for flows in 10, 100, 1000, 10000, 65536:
        cases[f"scale-flows-{flows}"] = Case(
            f"scale, {flows:,} flows of 1,000 clients, 20,000 packets/s in all", True,
            ["scale", "-clients", "1000", "-flows", str(flows)], PACED)
    return cases


CASES = _all()
# About ten minutes: one of each kind.
SOME = ["bulk-tls-1400-16", "bulk-tls-100-16", "bulk-plain-1400-16", "chatter-500", "idle-2000",
        "churn", "slow", "latency", "scale-clients-1000", "scale-flows-65536"]
