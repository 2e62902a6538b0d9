"""Packets: content, order, sizes, counters; ping, home, unknown frames."""

import os
import selectors
import ssl

import pytest

import derp
from server import ORACLE

SIZES = [
    0,
    1,
    31,
    32,
    61,
    62,
    63,
    1200,
    1400,
    4096,
    16379,
    16384,
    32763,
    32768,
    32769,
    65535,
    65536,
]


def numbered(number, size):
    """A packet of `size` bytes that can't be taken for another one."""
    return (number.to_bytes(4, "big") + os.urandom(64) * (size // 64 + 1))[:size]


@pytest.mark.subset
@pytest.mark.parametrize("how", ["fast", "websocket"])
def test_every_size_in_order(either, how):
    sender, receiver = either.login(how), either.login(how)
    packets = [numbered(i, size) for i, size in enumerate(SIZES + SIZES[::-1])]
    for start in range(0, len(packets), 4):  # little enough to be sure that no queue fills up
        batch = packets[start : start + 4]
        sender.send(b"".join(derp.send_packet_frame(receiver.key, p) for p in batch))
        for packet in batch:
            assert receiver.recv_packet() == (sender.key, packet)
    volume = {"packets": len(packets), "bytes": sum(map(len, packets))}
    either.expect(
        {f"derp_{unit}_{way}": n for unit, n in volume.items() for way in ("received", "sent")}
        | {"derp_packets_dropped": 0, "derp_bytes_dropped": 0}
    )


def test_tls_1_2(tls):
    """The record layer of TLS 1.2 is another one than that of 1.3."""
    old, new = tls.login(version=ssl.TLSVersion.TLSv1_2), tls.login()
    for number, size in enumerate(SIZES):
        packet = numbered(number, size)
        for sender, receiver in ((old, new), (new, old), (old, old)):
            sender.send_packet(receiver.key, packet)
            assert receiver.recv_packet() == (sender.key, packet)


def test_self_send(either):
    client = either.login()
    for number, size in enumerate(SIZES):
        packet = numbered(number, size)
        client.send_packet(client.key, packet)
        assert client.recv_packet() == (client.key, packet)
    either.expect({"derp_packets_received": len(SIZES), "derp_packets_sent": len(SIZES)})


def test_many_frames_a_write_and_many_writes_a_frame(plain):
    """How the stream is cut must not matter."""
    sender, receiver = plain.login(), plain.login()
    packets = [numbered(i, 100) for i in range(28)]
    stream = b"".join(derp.send_packet_frame(receiver.key, p) for p in packets)
    for piece in (1, 3, 137, 138, len(stream)):
        for start in range(0, len(stream), piece):
            sender.send(stream[start : start + piece])
        assert [receiver.recv_packet()[1] for _ in packets] == packets


def test_everybody_with_everybody(either):
    """With two workers, some pairs share one and some don't."""
    clients = [either.login("fast") for _ in range(8)]
    for a in clients:
        for b in clients:
            a.send_packet(b.key, a.key + b.key)
    for b in clients:
        got = sorted(b.recv_packet() for _ in clients)
        assert got == sorted((a.key, a.key + b.key) for a in clients)
    either.expect({"derp_packets_received": 64, "derp_packets_sent": 64})


def test_disco_and_data_each_keep_their_order(plain):
    sender, receiver = plain.login(), plain.login()
    data = [numbered(i, 200) for i in range(20)]
    disco = [derp.disco(bytes([i])) for i in range(20)]
    for d, p in zip(disco, data):
        sender.send(
            derp.send_packet_frame(receiver.key, p) + derp.send_packet_frame(receiver.key, d)
        )
    got = [receiver.recv_packet()[1] for _ in range(40)]
    assert [p for p in got if p.startswith(derp.DISCO_MAGIC)] == disco
    assert [p for p in got if not p.startswith(derp.DISCO_MAGIC)] == data
    plain.expect(
        {
            'derp_packets_received_kind{kind="disco"}': 20,
            'derp_packets_received_kind{kind="other"}': 20,
        }
    )


def test_what_counts_as_disco(plain):
    """Magic and length make it so, and one byte less of either doesn't."""
    client = plain.login()
    shorter = derp.disco()[:-1]
    damaged = b"ts" + derp.disco()[2:]
    for packet in (derp.disco(), derp.disco(size=1000), shorter, damaged):
        client.send_packet(client.key, packet)
    client.sync()
    plain.expect(
        {
            'derp_packets_received_kind{kind="disco"}': 2,
            'derp_packets_received_kind{kind="other"}': 2,
        }
    )


# --- closed loop ----------------------------------------------------------------------------------


class Pair:
    """A sender and a receiver with a fixed number of packets in flight."""

    def __init__(self, server, size):
        self.sender = server.login("fast")
        # All that is in flight fits into the kernel, in case that this process has to wait.
        self.receiver = server.login("fast", rcvbuf=1 << 20)
        self.size = size
        self.sent = self.received = 0

    def send(self, count):
        packets = (
            n.to_bytes(8, "big").ljust(self.size, b"p") for n in range(self.sent, self.sent + count)
        )
        self.sender.send(b"".join(derp.send_packet_frame(self.receiver.key, p) for p in packets))
        self.sent += count

    def receive(self):
        """Take in all that has come; check that nothing is missing and nothing out of order."""
        self.receiver.conn.fill_all()
        frames = self.receiver.buffered_frames()
        for got in frames:
            number = self.received.to_bytes(8, "big")
            assert got.type == derp.RECV_PACKET
            assert got.payload == self.sender.key + number.ljust(self.size, b"p")
            self.received += 1
        return len(frames)


@pytest.mark.subset
@pytest.mark.parametrize("pairs", [1, 4, 16, 64])
def test_nothing_lost_while_receivers_read(either, pairs, size=1400):
    """Each arrival is answered with another packet until every pair has moved its share."""
    in_flight = 28 if ORACLE else 128  # derper drops above 32
    each = 16384 // pairs + in_flight
    with selectors.DefaultSelector() as selector:
        running = [Pair(either, size) for _ in range(pairs)]
        for pair in running:
            selector.register(pair.receiver.conn.sock, selectors.EVENT_READ, pair)
            pair.send(in_flight)
        while any(pair.received < each for pair in running):
            ready = selector.select(derp.TIMEOUT)
            assert ready, "packets are missing: " + str([pair.received for pair in running])
            for key, _ in ready:
                arrived = key.data.receive()
                key.data.send(min(arrived, each - key.data.sent))
    either.expect(
        {
            "derp_packets_received": each * pairs,
            "derp_packets_sent": each * pairs,
            "derp_bytes_sent": each * pairs * size,
            "derp_packets_dropped": 0,
        }
    )


# --- other frames ---------------------------------------------------------------------------------


def test_ping(plain):
    client = plain.login()
    for body in (b"12345678", b"12345678 and what is to be ignored", b"8 bytes.".ljust(1000)):
        client.send_frame(derp.PING, body)
        assert client.expect(derp.PONG) == body[:8]
    plain.expect({"derp_got_ping": 3, "derp_sent_pong": 3})


def test_home_clients_are_counted(plain):
    """Saying the same again changes nothing, and right after login nothing counts as a move."""
    clients = [plain.login() for _ in range(3)]
    home = "derp_current_home_connections"
    for client in clients:
        client.send_frame(derp.NOTE_PREFERRED, b"\1")
        client.send_frame(derp.NOTE_PREFERRED, b"\1")
    plain.expect({home: 3})
    clients[0].send_frame(derp.NOTE_PREFERRED, b"\0")
    plain.expect({home: 2})
    clients[1].close()
    plain.expect({home: 1, "derp_home_moves_in": 0, "derp_home_moves_out": 0})


UNKNOWN = 0x7F


def test_unknown_frames_are_skipped(either):
    client = either.login()
    for length in (0, 1, 4096, 65568, 1 << 20):
        client.send_frame(UNKNOWN, bytes(length))
    client.send_packet(client.key, b"behind them")
    assert client.recv_packet() == (client.key, b"behind them")


@pytest.mark.ours
def test_unknown_frames_are_counted(plain):
    client = plain.login()
    for frame_type in (0x00, UNKNOWN, 0xFF):
        client.send_frame(frame_type, b"whatever")
    client.sync()
    plain.expect({"derp_unknown_frames": 3})


def test_frames_of_the_wrong_direction_are_ignored(plain):
    client = plain.login()
    server_frames = (
        derp.SERVER_KEY,
        derp.SERVER_INFO,
        derp.RECV_PACKET,
        derp.KEEP_ALIVE,
        derp.PEER_GONE,
        derp.PEER_PRESENT,
        derp.CLIENT_INFO,
    )
    for frame_type in server_frames:
        client.send_frame(frame_type, bytes(40))
    client.send_frame(derp.PONG, b"12345678")
    client.sync()
    plain.expect({"derp_current_connections": 1, "derp_packets_received": 0})
