"""A client behind a line of its own that is narrow: what it sends faster than that stands in a
buffer of the line, where the relay sees it only by the round-trip time."""

import struct
import threading
import time

import pytest
from line import BYTES_PER_S

pytestmark = pytest.mark.ours

LARGE, SMALL = 1400, 200
SMALL_EVERY = 2
SHED = 'derp_packets_dropped{reason="uplink_full"}'


def upload(bed, seconds, rate=None):
    """far sends, as much as its socket takes or so many bytes/s; near answers now and then.
    Returns the numbers of the packets sent, and of those that came."""
    mean = (LARGE + SMALL) / SMALL_EVERY
    total = int(seconds * (rate or BYTES_PER_S) / mean)
    start = time.monotonic()

    def send():
        for number in range(total):
            size = SMALL if number % SMALL_EVERY == 0 else LARGE
            bed.far.send_packet(bed.near.key, struct.pack(">Q", number).ljust(size, b"u"))
            if rate:
                time.sleep(max(0, start + number * mean / rate - time.monotonic()))
        bed.far.send_packet(bed.near.key, struct.pack(">Q", total))

    thread = threading.Thread(target=send)
    thread.start()
    came, answered = [], 0
    while not came or came[-1] != total:
        _, packet = bed.near.recv_packet()
        came.append(struct.unpack_from(">Q", packet)[0])
        if time.monotonic() > answered + 0.02:
            answered = time.monotonic()
            bed.near.send_packet(bed.far.key, b"got it".ljust(60))
    thread.join()
    return range(total + 1), came


def shed(bed):
    return int(bed.metrics().sum(SHED))


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
def test_who_fills_its_line_loses_some_large_packets(bed, tls):
    bed = bed(tls=tls)
    sent, came = upload(bed, 5)
    missing = sorted(set(sent) - set(came))
    assert came == sorted(came)
    assert 1 <= len(missing) <= 20
    assert not [n for n in missing if n % SMALL_EVERY == 0]
    assert shed(bed) == len(missing)
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
    sent, came = upload(bed, 3, rate=BYTES_PER_S / 2)
    assert came == list(sent)
    assert shed(bed) == 0


def test_shedding_can_be_left_out(bed):
    bed = bed(shed_uploads="false")
    sent, came = upload(bed, 2)
    assert came == list(sent)
    assert shed(bed) == 0
