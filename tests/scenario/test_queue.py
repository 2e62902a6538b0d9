"""Receivers that don't read, or read slowly."""

import contextlib
import ctypes
import select
import socket
import struct
import time

import pytest

import derp
from server import ORACLE, eventually

SIZE = 1400
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
STALLED = {"rcvbuf": 32768}  # so that the kernel soon takes no more for a client that doesn't read


def stamped(number):
    """A packet that tells its number and when it was made."""
    return struct.pack(">Qd", number, time.monotonic()).ljust(SIZE, b"s")


def read_stamp(packet):
    return struct.unpack_from(">Qd", packet)


def send_stamped(sender, receiver, start, count):
    sender.send(
        b"".join(derp.send_packet_frame(receiver.key, stamped(start + i)) for i in range(count))
    )


def ticks(seconds, interval=0.005):
    """Come by every `interval` for so long."""
    start = time.monotonic()
    for n in range(int(seconds / interval)):
        time.sleep(max(0, start + n * interval - time.monotonic()))
        yield n


def flood(sender, receiver, seconds=1.5, per_tick=14, first=0):
    """About 4 MB/s of packets, in small portions; yields to let the caller do something meanwhile.
    Returns how many were sent."""
    for tick in ticks(seconds):
        send_stamped(sender, receiver, first + tick * per_tick, per_tick)
        yield
    return (tick + 1) * per_tick


def run(generator):
    """A generator's return value."""
    while True:
        try:
            next(generator)
        except StopIteration as stop:
            return stop.value


def receive_up_to(receiver, last):
    """(number, time stamp) of every packet that comes, up to the one with number `last`."""
    got = []
    while not got or got[-1][0] != last:
        got.append(read_stamp(receiver.recv_packet()[1]))
    return got


def behind_first_gap(got):
    """What comes behind the first missing number. Before it lies what the kernel had taken."""
    for i in range(1, len(got)):
        if got[i][0] != got[i - 1][0] + 1:
            return got[i:]
    raise AssertionError("nothing is missing")


@pytest.mark.subset
def test_stalled_receiver_gets_recent_packets_and_harms_nobody(either):
    sender, stalled = either.login(), either.login(**STALLED)
    a, b = either.login(), either.login()
    flooding = flood(sender, stalled)
    talk = b"meanwhile"
    for _ in range(280):  # nearly all of the flood's ticks
        next(flooding)
        a.send_packet(b.key, talk)
        sender.send_packet(a.key, talk)  # the flooding sender isn't held up either
        assert b.recv_packet() == (a.key, talk)
        assert a.recv_packet() == (sender.key, talk)
    sent = run(flooding)
    resumed = time.monotonic()
    got = receive_up_to(stalled, sent - 1)

    numbers = [number for number, _ in got]
    assert numbers == sorted(set(numbers))
    ages = [resumed - at for _, at in behind_first_gap(got)]
    assert max(ages) < 0.25 + 0.15 * derp.SCALE, "stale packets were kept"
    lost = sent - len(got)
    either.expect(
        {
            'derp_packets_dropped{reason="queue_head",kind="other"}': lost,
            'derp_bytes_dropped{reason="queue_head",kind="other"}': lost * SIZE,
            "derp_packets_dropped": lost,
        }
    )
    either.expect_reconciled()


@pytest.mark.ours
def test_drops_stand_in_their_flow(plain):
    sender, stalled, bystander = plain.login(), plain.login(**STALLED), plain.login()
    sent = run(flood(sender, stalled, seconds=0.5, per_tick=40))
    sender.send_packet(bystander.key, b"not dropped")
    lost = sent - len(receive_up_to(stalled, sent - 1))
    assert lost > 0
    expected = {"packets": lost, "bytes": lost * SIZE}

    def check():
        page = plain.flows()
        rows = {row["dst"]: row for row in page["flows"]}
        row = rows[derp.node_key(stalled.key)]
        assert row["packets"] == sent and row["bytes"] == sent * SIZE
        assert {r: n for r, n in row["drops"].items() if n["packets"]} == {"queue_head": expected}
        assert (row["dropped_packets"], row["dropped_bytes"]) == (lost, lost * SIZE)
        assert rows[derp.node_key(bystander.key)]["dropped_packets"] == 0
        assert page["totals"]["dropped_packets"] == lost

    eventually(check)


def test_disco_waits_in_a_queue_of_its_own(either):
    """Data can't push it out, and of too much of it the oldest goes."""
    sender, stalled = either.login(), either.login(**STALLED)
    sent = run(flood(sender, stalled, seconds=0.5, per_tick=40))
    sender.send(
        b"".join(derp.send_packet_frame(stalled.key, derp.disco(bytes([i]))) for i in range(40))
    )
    sender.sync()
    either.expect({"derp_packets_received": sent + 40})

    data, disco = [], []
    while not (data[-1:] == [sent - 1] and disco[-1:] == [39]):
        packet = stalled.recv_packet()[1]
        if packet.startswith(derp.DISCO_MAGIC):
            disco.append(packet[len(derp.DISCO_MAGIC)])
        else:
            data.append(read_stamp(packet)[0])
    assert disco == list(range(8, 40))
    either.expect({'derp_packets_dropped{reason="queue_head",kind="disco"}': 8})


@pytest.mark.ours
def test_disco_goes_ahead_of_waiting_data(plain):
    sender, stalled = plain.login(), plain.login(**STALLED)
    sent = run(flood(sender, stalled, seconds=0.5, per_tick=40))
    sender.send_packet(stalled.key, derp.disco())
    sender.sync()
    plain.expect({"derp_packets_received": sent + 1})
    before = []
    while not (packet := stalled.recv_packet()[1]).startswith(derp.DISCO_MAGIC):
        before.append(read_stamp(packet))
    after = receive_up_to(stalled, sent - 1)
    assert behind_first_gap(before + after) == after, "data that had to wait came first"


@pytest.mark.ours
def test_cap_by_number(serve):
    server = serve(tls=False, send_queue_packets=8)
    sender, stalled = server.login(), server.login(**STALLED)
    sent = run(flood(sender, stalled, seconds=0.3, per_tick=40))
    server.expect({"derp_packets_received": sent})
    assert len(behind_first_gap(receive_up_to(stalled, sent - 1))) <= 8


def test_slow_reader_is_not_closed(serve):
    """It never takes all that comes, but no write waits as long as the time-out. (It must not be
    too slow either: the kernel announces space only when a third of a large buffer is free.)"""
    server = serve(tls=False, tcp_write_timeout="1s")
    sender, slow = server.login(), server.login(rcvbuf=262144)
    for tick, _ in enumerate(flood(sender, slow, seconds=2.5, per_tick=40)):
        if tick % 4 == 0:
            slow.conn.fill()
    server.expect({"derp_sclient_write_timeouts": 0, "derp_current_connections": 2})
    assert server.metrics().sum("derp_packets_dropped") > 0, "it was not slow enough for this test"


@pytest.mark.ours
def test_crawling_reader_is_not_closed(serve):
    """It takes far less in a time-out than the kernel wants to be rid of before it asks for more:
    that it takes something at all is what counts."""
    server = serve(tls=False, tcp_write_timeout="1500ms")
    sender, slow = server.login(), server.login(**STALLED)
    for tick in range(50):
        send_stamped(sender, slow, tick * 10, 10)
        time.sleep(0.1)
        slow.conn.sock.recv(3000)
    server.expect({"derp_sclient_write_timeouts": 0, "derp_current_connections": 2})
    assert server.metrics().sum("derp_packets_dropped") > 0, "it was not slow enough for this test"


@pytest.mark.ours
def test_pings_do_not_put_off_the_write_timeout(serve):
    """What it sends says nothing of what it takes."""
    server = serve(tls=False, tcp_write_timeout="500ms")
    sender, stalled = server.login(), server.login("websocket", **STALLED)
    run(flood(sender, stalled, seconds=0.5, per_tick=40))

    deadline = time.monotonic() + 4 * derp.SCALE
    while server.metrics().sum("derp_current_connections") == 2:
        assert time.monotonic() < deadline, "its pings keep it alive"
        with contextlib.suppress(OSError):
            stalled.conn.send_message(b"", derp.WS_PING)
        time.sleep(0.1)
    server.expect_closes(write_timeout=1)


def readable(client):
    return select.select([client.conn.sock], [], [], 0)[0]


@contextlib.contextmanager
def out_of_reach(client):
    """Every segment that comes for the client is lost, as while a radio is out of reach."""
    lose_all = struct.pack("HBBI", 0x06, 0, 0, 0)  # BPF_RET | BPF_K: keep 0 bytes
    program = ctypes.create_string_buffer(lose_all)
    client.conn.sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                                struct.pack("HL", 1, ctypes.addressof(program)))
    try:
        yield
    finally:
        client.conn.sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


@pytest.mark.ours
@pytest.mark.parametrize("seconds, talks", [(1.1, False), (0.7, True)], ids=["silent", "talks"])
def test_an_outage_may_last_longer_than_the_write_timeout(serve, seconds, talks):
    """Who is heard again still waits for what the kernel sends anew."""
    server = serve(tls=False, tcp_write_timeout="400ms")
    sender, away = server.login(), server.login(**STALLED)
    with out_of_reach(away):
        run(flood(sender, away, seconds=seconds, per_tick=40))
    if talks:
        away.send_packet(sender.key, b"back again")
    # What is sent before the kernel tries again waits too long; who is back reads.
    got = 0
    for _ in flood(sender, away, seconds=4 * derp.SCALE, per_tick=1, first=100_000):
        while got < 100_000 and (away.conn.buffer or readable(away)):
            got = read_stamp(away.recv_packet()[1])[0]
        if got >= 100_000:
            break
    assert got >= 100_000
    server.expect({"derp_sclient_write_timeouts": 0, "derp_current_connections": 2})


@pytest.mark.ours
def test_an_outage_does_not_last_for_ever(serve):
    server = serve(tls=False, tcp_write_timeout="400ms")
    sender, away = server.login(), server.login(**STALLED)
    start = time.monotonic()
    with out_of_reach(away):
        flooding = flood(sender, away, seconds=6 * derp.SCALE)
        while server.metrics().sum("derp_current_connections") == 2:
            next(flooding)
    assert time.monotonic() - start > 1.9
    server.expect_closes(write_timeout=1)


@pytest.mark.subset
def test_write_timeout_closes(serve):
    # Under TLS derper takes five seconds more: its close waits for the alert to be written.
    server = serve(tls=not ORACLE, tcp_write_timeout="1s")
    sender, stalled = server.login(), server.login(**STALLED)
    stalled.send_packet(sender.key, b"so that you hear of my end")
    sender.recv_packet()
    start = time.monotonic()
    # Well below the five time-outs of one that cannot be reached.
    flooding = flood(sender, stalled, seconds=3.5 * derp.SCALE)
    while server.metrics().sum("derp_current_connections") == 2:
        next(flooding)
    assert time.monotonic() - start > 0.9
    assert sender.recv_peer_gone() == (stalled.key, derp.GONE_DISCONNECTED)
    server.expect({"derp_sclient_write_timeouts": 1})
    server.expect_closes(write_timeout=1)
    server.expect_reconciled()


def test_receiver_leaves_with_a_full_queue(either):
    sender, stalled = either.login(), either.login(**STALLED)
    sent = run(flood(sender, stalled, seconds=0.5, per_tick=40))
    either.expect({"derp_packets_received": sent})
    stalled.conn.reset()
    either.expect({"derp_current_connections": 1})
    either.expect_closes(client_closed=1)
    either.expect_reconciled()
    metrics = either.metrics()
    assert metrics.sum('derp_packets_dropped{reason="gone_disconnected"}') > 0
    assert metrics.sum('derp_packets_dropped{reason="unknown_dest"}') == 0


def test_only_one_pong_is_outstanding(plain):
    """One may have been written already when the stall is noticed."""
    sender, stalled = plain.login(), plain.login(**STALLED)
    sent = run(flood(sender, stalled, seconds=0.5, per_tick=40))
    plain.expect({"derp_packets_received": sent})
    pings = [struct.pack(">Q", n) for n in range(50)]
    for ping in pings:
        stalled.send_frame(derp.PING, ping)
    plain.expect({"derp_got_ping": len(pings)})
    pongs = [stalled_pong(stalled)]
    stalled.sync()  # not before: a ping is ignored as long as a pong has to wait
    pongs += [got.payload for got in stalled.waiting if got.type == derp.PONG]
    assert len(pongs) <= 2
    assert pongs[0] == pings[0]
    plain.expect({"derp_sent_pong": len(pongs) + 1})


def stalled_pong(client):
    while (got := client.recv()).type != derp.PONG:
        pass
    return got.payload


def test_stalled_receiver_still_hears_who_is_gone(plain):
    """These frames are few and never dropped."""
    flooder, stalled = plain.login(), plain.login(**STALLED)
    peers = [plain.login() for _ in range(20)]
    for peer in peers:
        peer.send_packet(stalled.key, b"hello")
    plain.expect({"derp_packets_sent": len(peers)})
    run(flood(flooder, stalled, seconds=0.5, per_tick=40))
    for peer in peers:
        peer.close()
    plain.expect({"derp_current_connections": 2})
    gone = set()
    while len(gone) < len(peers):
        got = stalled.recv()
        if got.type == derp.PEER_GONE:
            gone.add(got.payload)
    assert gone == {peer.key + bytes([derp.GONE_DISCONNECTED]) for peer in peers}


@pytest.mark.ours
def test_too_many_control_frames_close(serve):
    """They are never dropped, so who doesn't read thousands of them must go: more than the socket still
    takes, and 64 KiB."""
    plain = serve(tls=False, tcp_write_timeout="0")
    flooder, stalled = plain.login(), plain.login(**STALLED)
    peers = [plain.login("fast") for _ in range(4000)]  # 38 bytes for each
    for peer in peers:
        peer.send_packet(stalled.key, b"")
        stalled.recv_packet()
    run(flood(flooder, stalled, seconds=0.5, per_tick=40))
    for peer in peers:
        peer.close()
    plain.expect({"derp_current_connections": 1}, timeout=10)
    plain.expect_closes(client_closed=len(peers), slow_control=1)
    plain.expect_reconciled()
