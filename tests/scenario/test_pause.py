"""A client behind a long line that is sent something again after a pause: what the connection had
learnt of the line is not lost."""

import time

import derp
import pytest
from line import BYTES_PER_S

pytestmark = pytest.mark.ours

PACKET = 1400
MANY = 200
ALL_AT_ONCE = 100
PAUSE_S = 1
CHANGES = "sluice_congestion_changes"
INITIAL_BYTES = 10 * 1448


def send(bed, packets, rate=None):
    """All at once, or so many bytes/s. Returns how many did not come: of many at once, some in
    front may have waited too long."""
    start = time.monotonic()
    for number in range(packets):
        bed.near.send_packet(bed.far.key, number.to_bytes(2, "big").ljust(PACKET, b"b"))
        if rate:
            time.sleep(max(0, start + number * PACKET / rate - time.monotonic()))
    came = []
    while not came or came[-1] != packets - 1:
        came.append(int.from_bytes(bed.far.recv_packet()[1][:2], "big"))
    assert came == sorted(came)
    assert len(came) > packets / 2
    return packets - len(came)


def path_to_far(bed):
    (row,) = (
        r for r in bed.hub(bed.server.clients) if r["key"] == derp.node_key(bed.far.key)
    )
    return row["path"]


def changes(bed, to):
    return int(bed.metrics().sum(f'{CHANGES}{{to="{to}"}}'))


def test_a_connection_goes_on_after_a_pause_as_it_was(bed):
    bed = bed()
    assert send(bed, MANY, 0.8 * BYTES_PER_S) == 0
    before = path_to_far(bed)
    assert before["congestion"] == "cubic"
    assert before["window_bytes"] > 2 * INITIAL_BYTES
    assert changes(bed, "resumed") == 0
    time.sleep(PAUSE_S)
    assert send(bed, 1) == 0
    after = path_to_far(bed)
    assert after["congestion"] == "bbr"
    assert after["window_bytes"] >= before["window_bytes"]
    assert changes(bed, "resumed") == 1
    # While it has little to do it stays as it is.
    time.sleep(PAUSE_S)
    assert send(bed, 1) == 0
    assert (changes(bed, "resumed"), changes(bed, "clean")) == (1, 0)
    # And changes back once something is under way for long enough.
    missing = 0
    for _ in range(5):
        missing += send(bed, ALL_AT_ONCE)
        if changes(bed, "clean"):
            break
    assert path_to_far(bed)["congestion"] == "cubic"
    assert (changes(bed, "resumed"), changes(bed, "clean")) == (1, 1)
    assert changes(bed, "lossy") == 0
    assert bed.metrics().sum('derp_packets_dropped{reason="queue_head"}') == missing
    assert bed.metrics().sum("derp_packets_dropped") == missing


def test_a_congestion_control_by_name_stays(bed):
    bed = bed(tcp_congestion="cubic")
    assert send(bed, MANY, 0.8 * BYTES_PER_S) == 0
    time.sleep(PAUSE_S)
    assert send(bed, 1) == 0
    assert path_to_far(bed)["congestion"] == "cubic"
    assert bed.metrics().sum(CHANGES) == 0
