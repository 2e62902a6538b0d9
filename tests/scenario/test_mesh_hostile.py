"""The other side of a link says rubbish, too much, nothing, or stops amid something."""

import os
import ssl
import time
from functools import partial

import pytest

import derp
from mesh import MESH_KEY, keys, knows, mesh_flags, mesh_peer
from server import ORACLE, eventually

QUIET = 0.2 * derp.SCALE  # in which a link that is to be closed has been


def alive(node, *links):
    """The node serves newcomers, and links that did nothing wrong work."""
    node.expect_unharmed()
    for link in links:
        key, client = os.urandom(32), node.login()
        link.present(key)
        before = node.metrics().sum("derp_packets_forwarded_out")
        eventually(partial(reachable, node, client, key, before))
        client.close()


def reachable(node, client, key, before):
    client.send_packet(key, b"over the link")
    client.sync()
    assert node.metrics().sum("derp_packets_forwarded_out") > before


def expect_state(node, fake, up):
    """What /debug/mesh says about the link to this one."""

    def check():
        (row,) = [r for r in node.links() if r["address"] == fake.host]
        assert (row["state"] == "up") == up
        assert up or row["error"], "it doesn't say why the link has ended"

    if not node.derper:
        eventually(check)


def start_all(dialling, fakes, cases):
    """One node with a link for each case and a good one: ([fake of each], good link, node)."""
    bad, good = [fakes() for _ in cases], fakes()
    node = dialling(*bad, good)
    return bad, good.up(), node


# --- before the link is up ------------------------------------------------------------------------


def zero_key(link):
    link.handshake().read_request().answer_upgrade()
    link.send_frame(derp.SERVER_KEY, derp.MAGIC + bytes(32))


def greeting(payload, frame_type=derp.SERVER_KEY, length=None):
    def send(link):
        link.handshake().read_request().answer_upgrade()
        link.send_frame(frame_type, payload, length)

    return send


def answer(data):
    def send(link):
        link.handshake().read_request()
        link.conn.offer(data)

    return send


def server_info(*arguments, **options):
    def send(link):
        link.handshake().read_request().answer_upgrade().greet().read_client_info()
        link.send_frame(derp.SERVER_INFO, *arguments, **options)

    return send


def opened(plaintext):
    def send(link):
        link.handshake().read_request().answer_upgrade().greet().read_client_info()
        link.send_server_info(plaintext)

    return send


SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\n"

# Where the node waits for more: the connection ends with ours.
UNFINISHED = {
    "nothing",
    "TLS alone",
    "no answer",
    "half an answer",
    "upgrade alone",
    "half a greeting",
    "greeting alone",
    "half a box",
}
# All others make the node end it.
BAD_LOGINS = {
    "nothing": lambda link: None,
    "rubbish for TLS": lambda link: link.conn.offer(os.urandom(1000)),
    "plain HTTP": lambda link: link.conn.offer(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "TLS alone": lambda link: link.handshake(),
    "no answer": lambda link: link.handshake().read_request(),
    "half an answer": answer(SWITCHING + b"Upgr"),
    "another answer": answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    "not found": answer(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n"),
    "a redirect": answer(b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/\r\n\r\n"),
    "no HTTP": answer(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "a head without end": answer(SWITCHING + b"X: " + b"x" * 200000),
    "lines without end": answer(SWITCHING + b"X: x\r\n" * 20000),
    "no status": answer(b"HTTP/1.1\r\n\r\n"),
    "huge status": answer(b"HTTP/1.1 " + b"1" * 1000 + b" OK\r\n\r\n"),
    "upgrade alone": lambda link: link.handshake().read_request().answer_upgrade(),
    "another first frame": greeting(derp.MAGIC + os.urandom(32), derp.PING),
    "other magic": greeting(b"DERP\xf0\x9f\x94\x90" + os.urandom(32)),
    "greeting too short": greeting(derp.MAGIC + bytes(31)),
    "empty greeting": greeting(b""),
    "greeting too long": greeting(derp.MAGIC + os.urandom(32), length=1 << 24),
    "half a greeting": greeting(derp.MAGIC + os.urandom(10), length=40),
    "key of zeros": zero_key,
    "greeting alone": lambda link: (
        link.handshake().read_request().answer_upgrade().greet().read_client_info()
    ),
    "box of rubbish": server_info(os.urandom(100)),
    "box too short": server_info(bytes(30)),
    "no box": server_info(b""),
    "box of 4 GiB": server_info(b"", length=2**32 - 1),
    "half a box": server_info(os.urandom(50), length=100),
    "ServerInfo is no JSON": opened(b"hello"),
    "ServerInfo is empty": opened(b""),
    "ServerInfo is deep": opened(b'{"x":' * 2500),
}


@pytest.mark.subset
def test_bad_logins(dialling, fakes):
    """Each ends its own attempt, is shown with a reason, and harms no other link."""
    names = [n for n in BAD_LOGINS if not (ORACLE and n == "key of zeros")]  # derper panics
    for cases in (names[:16], names[16:]):
        bad, good, node = start_all(dialling, fakes, cases)
        links = {name: fake.accept() for name, fake in zip(cases, bad)}
        for name, link in links.items():
            try:
                BAD_LOGINS[name](link)
                if name not in UNFINISHED and not node.derper:
                    link.read_to_close()
            except (derp.Closed, ConnectionError, ssl.SSLError):
                pass  # the node was faster
            link.close()
        for fake in bad:
            expect_state(node, fake, up=False)
        if not node.derper:
            assert sum(row["logins"] for row in node.links()) == 1, "only the good one"
        knows(node, 0)
        alive(node, good)


@pytest.mark.ours
def test_strange_logins_that_will_do(dialling, fakes):
    """What a newer server may send."""
    more, unknown, long_head = fakes(), fakes(), fakes()
    node = dialling(more, unknown, long_head)
    link = more.accept().handshake().read_request().answer_upgrade()
    link.send_frame(derp.SERVER_KEY, derp.MAGIC + more.key + os.urandom(100))
    link.read_client_info().send_server_info(b'{"version":3,"more":{"x":[1,2]}}').read_watch()
    alive(node, link)

    link = unknown.accept().handshake().read_request().answer_upgrade().greet()
    link.read_client_info().send_server_info()
    link.send_frame(0x7E, os.urandom(3000))
    alive(node, link.read_watch())

    link = long_head.accept().handshake().read_request()
    link.send(SWITCHING + b"upgrade: derp\r\nconnection: upgrade\r\nX-More: " + b"x" * 1000)
    link.send(b"\r\n\r\n")
    alive(node, link.greet().read_client_info().send_server_info().read_watch())


def test_a_login_in_pieces(dialling, fakes):
    """Byte by byte, each in a record of its own."""
    fake = fakes()
    node = dialling(fake)
    link = fake.accept().handshake().read_request()
    whole = link.conn.send

    def in_pieces(data):
        for i in range(len(data)):
            whole(data[i : i + 1])
            time.sleep(0.001)

    link.conn.send = in_pieces
    link.answer_upgrade().greet().read_client_info().send_server_info().read_watch()
    alive(node, link)


def test_a_login_in_one_piece(dialling, fakes):
    """Presence right behind ServerInfo, before the node has asked for it."""
    fake = fakes()
    node = dialling(fake)
    link = fake.accept().handshake().read_request().answer_upgrade().greet().read_client_info()
    held, whole = [], link.conn.send
    link.conn.send = held.append
    link.send_server_info().present(*keys(100))
    whole(b"".join(held))
    link.conn.send = whole
    link.read_watch()
    knows(node, 100)


@pytest.mark.slow
@pytest.mark.ours
def test_stalls_at_every_stage(dialling, fakes):
    """Nobody waits for ever: after about ten seconds each is given up."""
    stages = ["handshake", "read_request", "answer_upgrade", "greet", "read_client_info"]
    bad, good, node = start_all(dialling, fakes, range(len(stages) + 1))
    links = []
    for n, fake in enumerate(bad):
        link = fake.accept()
        for stage in stages[:n]:
            getattr(link, stage)()
        links.append(link)
    start = time.monotonic()
    while time.monotonic() < start + 4:
        assert not any(row["error"] for row in node.links())
        with pytest.raises(TimeoutError):
            good.recv(0.1)
    for link in links:
        link.read_to_close(20 * derp.SCALE)
    for fake in bad:
        expect_state(node, fake, up=False)
    alive(node, good)


# --- after it -------------------------------------------------------------------------------------

KEY = bytes(range(32))


# The node must close.
FATAL = {
    "4 GiB": derp.frame(0x7F, b"", 2**32 - 1),
    "2 MiB of presence": derp.frame(derp.PEER_PRESENT, b"", 1 << 21),
    "2 MiB of packet": derp.frame(derp.RECV_PACKET, KEY, 1 << 21),
}

# It must not.
HARMLESS = {
    "unknown": derp.frame(0x7F, os.urandom(1000)),
    "keepalive": derp.frame(derp.KEEP_ALIVE),
    "health": derp.frame(derp.HEALTH, b"all is lost") + derp.frame(derp.HEALTH),
    "restarting": derp.frame(derp.RESTARTING, bytes(8)),  # what counts is that it closes
    "restarting, short": derp.frame(derp.RESTARTING, b""),
    "pong for nothing": derp.frame(derp.PONG, bytes(8)),
    "longer presence": derp.peer_present_frame(KEY, more=b"\x05hello"),
    "much longer presence": derp.peer_present_frame(KEY, more=bytes(500)),
    "no flags": derp.peer_present_frame(KEY, flags=0),
    "all flags": derp.peer_present_frame(KEY, flags=255),
    "gone that never was": derp.peer_gone_frame(KEY),
    "the same a thousand times": derp.peer_present_frame(KEY) * 1000,
    "to and fro": (derp.peer_present_frame(KEY) + derp.peer_gone_frame(KEY)) * 500,
    "a ping": derp.frame(derp.PING, b"12345678"),
}

# Either will do.
RUBBISH = {
    "short presence": derp.frame(derp.PEER_PRESENT, KEY),
    "shorter presence": derp.frame(derp.PEER_PRESENT, KEY[:31]),
    "empty presence": derp.frame(derp.PEER_PRESENT),
    "gone without reason": derp.frame(derp.PEER_GONE, KEY),
    "gone short": derp.frame(derp.PEER_GONE, KEY[:20]),
    "gone empty": derp.frame(derp.PEER_GONE),
    "gone long": derp.frame(derp.PEER_GONE, KEY + bytes(40)),
    "presence of zeros": derp.peer_present_frame(bytes(32)),
    "packet": derp.frame(derp.RECV_PACKET, KEY + b"for a server?"),
    "short packet": derp.frame(derp.RECV_PACKET, KEY[:5]),
    "forwarded": derp.forward_frame(KEY, KEY, b"the wrong way"),
    "send": derp.send_packet_frame(KEY, b"the wrong way"),
    "watch": derp.frame(derp.WATCH_CONNS),
    "close": derp.frame(derp.CLOSE_PEER, KEY),
    "greeting": derp.frame(derp.SERVER_KEY, derp.MAGIC + KEY),
    "ServerInfo": derp.frame(derp.SERVER_INFO, os.urandom(80)),
    "short ping": derp.frame(derp.PING, b"123"),
    "noise": bytes([derp.PEER_PRESENT, 0, 0, 0, 200]) + os.urandom(200) + os.urandom(100),
}


def is_closed(link):
    """Whether it is by now; what comes is read, and pings are answered."""
    try:
        while True:
            link.recv(0.01)
    except TimeoutError:
        return False
    except derp.Closed:
        return True


@pytest.mark.subset
def test_fatal_frames(dialling, fakes):
    bad, good, node = start_all(dialling, fakes, FATAL)
    links = [fake.up() for fake in bad]
    for link, data in zip(links, FATAL.values()):
        link.present(*keys(1))
        link.conn.offer(data)
    for link in links:
        link.read_to_close()
        expect_state(node, link.node, up=False)
    knows(node, 0)
    alive(node, good)


@pytest.mark.subset
def test_harmless_frames(dialling, fakes):
    all_, good, node = start_all(dialling, fakes, HARMLESS)
    links = [fake.up() for fake in all_]
    for link, data in zip(links, HARMLESS.values()):
        link.send(data)
    time.sleep(QUIET)
    for name, link in zip(HARMLESS, links):
        assert not is_closed(link), name
        expect_state(node, link.node, up=True)
    knows(node, 1)
    alive(node, good, *links)


def test_rubbish_frames(dialling, fakes):
    """They may end the link, but nothing else, and a link that stays up works."""
    bad, good, node = start_all(dialling, fakes, RUBBISH)
    victim = node.login()
    links = [fake.up() for fake in bad]
    for link, data in zip(links, RUBBISH.values()):
        link.conn.offer(data)
    time.sleep(QUIET)
    for link in links:
        agree(node, link)
    victim.expect_silence()
    alive(node, good)


def agree(node, link):
    """The node says of the link what can be seen of it."""

    def check():
        (row,) = [r for r in node.links() if r["address"] == link.node.host]
        assert (row["state"] == "up") != is_closed(link)

    if not node.derper:
        eventually(check)


def test_frames_cut_off(dialling, fakes):
    """The link ends amid a frame, after each of its parts."""
    whole = derp.peer_present_frame(KEY) + derp.peer_gone_frame(KEY)
    cuts = list(range(1, len(whole), 4))[:28]
    bad, good, node = start_all(dialling, fakes, cuts)
    for fake, cut in zip(bad, cuts):
        link = fake.up()
        link.send(whole[:cut])
        link.close()
    for fake in bad:
        expect_state(node, fake, up=False)
    knows(node, 0)
    alive(node, good)


def test_presence_of_odd_keys(dialling, fakes):
    """This node's own key, the other's, that of a local client, that of a mesh peer."""
    fake = fakes()
    node = dialling(fake)
    link, client, peer = fake.up(), node.login(), mesh_peer(node)
    odd = (node.key, fake.key, client.key, peer.key)
    for _ in range(3):
        link.present(*odd)
    client.send_packet(client.key, b"to myself")
    assert client.recv_packet() == (client.key, b"to myself")
    client.send_packet(peer.key, b"to the peer")
    assert peer.recv_packet() == (client.key, b"to the peer")
    alive(node, link)
    link.gone(*odd)
    alive(node, link)
    client.expect_silence()


# --- too much, too little -------------------------------------------------------------------------


@pytest.mark.subset
def test_ten_thousand_at_once(dialling, fakes):
    """They come, are reached, and go."""
    fake = fakes()
    node = dialling(fake)
    link, client = fake.up(), node.login()
    many = keys(10000)
    link.present(*many)
    knows(node, 10000)
    for key in many[::500]:
        client.send_packet(key, b"hello")
        assert link.recv_forward() == (client.key, key, b"hello")
    if not node.derper:

        def check():
            assert node.links()[0]["peers"] == 10000

        eventually(check)
    link.gone(*many[5000:])
    knows(node, 5000)
    link.close()
    knows(node, 0)
    node.expect_unharmed()


@pytest.mark.ours
def test_a_link_that_never_reads(dialling, fakes):
    """What clients send there is dropped in bounds, and all else goes on."""
    stuck, good = fakes(), fakes()
    node = dialling(stuck, good)
    link, other = stuck.up(rcvbuf=32768), good.up()
    far, near = keys(2)
    link.present(far)
    other.present(near)
    knows(node, 2)
    sender, a, b = (node.login("fast") for _ in range(3))
    packet = os.urandom(1400)
    before = memory(node)
    count = 0
    for turn in range(60):
        sender.send(derp.send_packet_frame(far, packet) * 500)
        count += 500
        a.send_packet(b.key, packet)
        assert b.recv_packet() == (a.key, packet)
        b.send_packet(near, packet)
        assert other.recv_forward() == (b.key, near, packet)
    sender.sync()
    if derp.SCALE == 1:  # sanitizers keep memory that was freed
        assert memory(node) - before < 24 << 20, "42 MB were sent"

    def check():
        metrics = node.metrics()
        assert metrics.sum("derp_packets_received") == count + 120
        assert metrics.sum("derp_packets_dropped") > count // 2
        for row in node.links():
            assert row["state"] == "up"

    eventually(check)
    link.conn.reset()
    knows(node, 1)
    node.expect_reconciled()
    alive(node, other)


def memory(node):
    return node.metrics().sum("process_resident_memory_bytes")


def test_a_watcher_that_never_reads(serve, tmp_path, cert):
    """Its connection takes nothing more, so that news for it pile up, in bounds; those who watch
    before it and behind it hear all of it. The kernel is not to end it meanwhile."""
    node = serve(**mesh_flags(tmp_path, cert), tcp_user_timeout="5m")
    clients = [node.login("fast") for _ in range(50)]
    others = [mesh_peer(node).watch() for _ in range(6)]  # some on the same worker
    stuck = node.open(rcvbuf=4096).login(meshKey=MESH_KEY)
    stuck.watch()
    others += [mesh_peer(node).watch() for _ in range(2)]
    node.expect({"derp_watchers": 9})
    sender, packet = node.login("fast"), os.urandom(60000)
    while node.metrics().sum("derp_packets_dropped") < 100:
        sender.send(derp.send_packet_frame(stuck.key, packet) * 20)
        sender.sync()
    for turn in range(40):
        for i, client in enumerate(clients):
            client.close()
            clients[i] = node.login("fast", private=client.private)
        marker = node.login("fast")
        for watcher in others:
            while watcher.recv_presence()[:1] != (marker.key,):
                pass
    node.expect({"derp_current_connections": 50 + 9 + 1 + 40, "derp_watchers": 9})
    node.expect_unharmed()


@pytest.mark.slow
@pytest.mark.ours
def test_a_link_that_does_not_answer_pings(dialling, fakes):
    """It may be cut off somewhere: after about 15 s it is given up and dialled again."""
    silent, good = fakes(), fakes()
    node = dialling(silent, good)
    link, other = silent.up(), good.up()
    link.answers_pings = False
    link.present(*keys(1))
    knows(node, 1)
    start = time.monotonic()
    pings = 0
    with pytest.raises(derp.Closed):
        while True:
            with pytest.raises(TimeoutError):
                other.recv(0.05)
            try:
                pings += link.recv(0.2).type == derp.PING
            except TimeoutError:
                assert time.monotonic() - start < 25 * derp.SCALE
    assert time.monotonic() - start > 8
    assert pings >= 1
    knows(node, 0)
    node.expect_closes(link_silent=1)
    silent.accept(timeout=8 * derp.SCALE).log_in()
    alive(node, other)
