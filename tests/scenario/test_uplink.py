"""A client behind a line of its own that is narrow: what it sends faster than that stands in a
buffer of the line, where the relay sees it only by the round-trip time.

The line is that of the test bed in tests/bench/wan: namespaces, and a process between two devices.
"""

import struct
import sys
import threading
import time
from types import SimpleNamespace

import derp
import pytest
from server import ROOT

sys.path += [str(ROOT / "tests" / "bench"), str(ROOT / "tests" / "bench" / "wan")]
import network  # noqa: E402
import programs  # noqa: E402

pytestmark = pytest.mark.ours

# 25 ms one way, 10 Mbit/s, a buffer of 100 ms; nothing is lost.
PATH = SimpleNamespace(delay_ms=25, mbit=10, loss=0, loss_back=0, queue_bytes=128 << 10)
BYTES_PER_S = PATH.mbit * 1e6 / 8
LARGE, SMALL = 1400, 200
SMALL_EVERY = 2
SHED = 'derp_packets_dropped{reason="uplink_full"}'


class Bed:
    """A relay in the hub, `near` beside it and `far` behind the line, which send to each other."""

    def __init__(self, net, serve, **flags):
        self.net = net
        self.server = self.hub(
            lambda: serve(host=network.HUB, env={"TS_ALLOW_DEBUG_IP": network.HUB}, **flags)
        )
        self.near = self.hub(self.server.login)
        self.far = net.inside("far", self.server.login)

    def hub(self, function):
        return self.net.inside("hub", function)

    def metrics(self):
        return self.hub(self.server.metrics)

    def upload(self, seconds, rate=None):
        """far sends, as much as its socket takes or so many bytes/s; near answers now and then.
        Returns the numbers of the packets sent, and of those that came."""
        mean = (LARGE + SMALL) / SMALL_EVERY
        total = int(seconds * (rate or BYTES_PER_S) / mean)
        start = time.monotonic()

        def send():
            for number in range(total):
                size = SMALL if number % SMALL_EVERY == 0 else LARGE
                self.far.send_packet(self.near.key, struct.pack(">Q", number).ljust(size, b"u"))
                if rate:
                    time.sleep(max(0, start + number * mean / rate - time.monotonic()))
            self.far.send_packet(self.near.key, struct.pack(">Q", total))

        thread = threading.Thread(target=send)
        thread.start()
        came, answered = [], 0
        while not came or came[-1] != total:
            _, packet = self.near.recv_packet()
            came.append(struct.unpack_from(">Q", packet)[0])
            if time.monotonic() > answered + 0.02:
                answered = time.monotonic()
                self.near.send_packet(self.far.key, b"got it".ljust(60))
        thread.join()
        return range(total + 1), came

    def shed(self):
        return int(self.metrics().sum(SHED))


@pytest.fixture
def bed(serve, tmp_path):
    reason = network.lacks()
    if reason:
        pytest.skip(f"NO LINE: {reason}")
    pathline = programs.c_program("pathline")
    with network.Allowed([network.CONGESTION]), network.Network() as net:
        line = network.Line(pathline, net, PATH, 1, str(tmp_path / "line.log"))
        try:
            net.join_line()
            yield lambda **flags: Bed(net, serve, **flags)
        finally:
            line.kill()


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
def test_who_fills_its_line_loses_some_large_packets(bed, tls):
    bed = bed(tls=tls)
    sent, came = bed.upload(5)
    missing = sorted(set(sent) - set(came))
    assert came == sorted(came)
    assert 1 <= len(missing) <= 20
    assert not [n for n in missing if n % SMALL_EVERY == 0]
    assert bed.shed() == len(missing)
    assert bed.metrics().sum('derp_bytes_dropped{reason="uplink_full"}') == LARGE * len(missing)
    assert bed.metrics().sum("derp_packets_dropped") == len(missing)
    (row,) = (f for f in bed.hub(bed.server.flows)["flows"] if f["packets"] > 1000)
    assert row["packets"] == len(sent)
    assert {r: n["packets"] for r, n in row["drops"].items() if n["packets"]} == {
        "uplink_full": len(missing)
    }
    bed.hub(bed.server.expect_reconciled)


def test_who_leaves_its_line_free_loses_nothing(bed):
    bed = bed()
    sent, came = bed.upload(3, rate=BYTES_PER_S / 2)
    assert came == list(sent)
    assert bed.shed() == 0


def test_shedding_can_be_left_out(bed):
    bed = bed(shed_uploads="false")
    sent, came = bed.upload(2)
    assert came == list(sent)
    assert bed.shed() == 0
