"""Clients that take their time before login, and too many of them."""

import contextlib
import ssl
import time

import pytest
from nacl.public import PrivateKey

import derp
from server import ORACLE, eventually

LIMIT = 10  # seconds for TLS and request together, and again for the login


class Dawdler:
    """A connection on which we owe the server something and send a byte of it every second."""

    def __init__(self, name, conn, owed=b""):
        self.name = name
        self.sock = conn.sock
        self.owed = iter(owed)
        self.closed_at = None

    def is_open(self):
        """Take in what has come and notice the server's close."""
        self.sock.settimeout(0.001)
        try:
            while self.sock.recv(4096):
                pass
        except TimeoutError:
            return True
        except OSError:
            pass
        self.closed_at = time.monotonic()
        return False

    def send_a_byte(self):
        # The server may have closed a moment ago.
        with contextlib.suppress(StopIteration, OSError):
            self.sock.send(bytes([next(self.owed)]))


def still_open(crowd):
    return [dawdler for dawdler in crowd if dawdler.closed_at is None and dawdler.is_open()]


def before_upgrade(server):
    """One for each way to hold up the TLS handshake and the HTTP request."""
    request = derp.upgrade_request()
    return [
        Dawdler("no byte at all", server.connect(tls=False)),
        Dawdler("hello drags", server.connect(tls=False), client_hello()),
        Dawdler("no request", server.connect()),
        Dawdler("request drags", server.connect(), request),
        Dawdler("no end of request", server.connect(), request[:8] * 20),
    ]


def before_login(server, server_key):
    info = derp.seal_client_info(PrivateKey.generate(), server_key, derp.client_info_json())
    return [
        Dawdler("no ClientInfo", server.open().conn),
        Dawdler("no ClientInfo, fast start", server.open("fast").conn),
        Dawdler("no ClientInfo, WebSocket", server.open("websocket").conn.conn),
        Dawdler("ClientInfo drags", server.open().conn, derp.frame(derp.CLIENT_INFO, info)),
    ]


def client_hello():
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        derp.tls_context().wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()


def test_dawdlers_are_closed_in_time_and_delay_nobody(tls):
    quick = tls.login()
    start = time.monotonic()
    everyone = before_login(tls, quick.server_key)
    everyone += [] if ORACLE else before_upgrade(tls)  # derper gives these 30 s
    waiting, tick = list(everyone), 0
    while waiting and time.monotonic() < start + LIMIT + 3 * derp.SCALE:
        waiting = [dawdler for dawdler in waiting if dawdler.is_open()]
        if tick % 5 == 0:
            for dawdler in waiting:
                dawdler.send_a_byte()
            tls.login().close()
        quick.sync()
        tick += 1
        time.sleep(0.2)
    assert not waiting, f"not closed: {[dawdler.name for dawdler in waiting]}"
    for dawdler in everyone:
        assert dawdler.closed_at - start > LIMIT - 1.5, f"closed too soon: {dawdler.name}"
    tls.expect_closes(handshake_timeout=len(everyone), client_closed=(tick + 4) // 5)


@pytest.mark.ours
def test_too_many_before_login(serve, tmp_path):
    """At the cap the oldest makes room for the newest; whoever has logged in stays."""
    server = serve(tls=False, max_pre_login=16, debug_listen=f"unix:{tmp_path}/debug")
    inside = server.login()
    crowd = [Dawdler("crowd", server.connect()) for _ in range(60)]

    def check():
        staying = still_open(crowd)
        # The connection that reads the counters has not logged in either, but is left alone.
        assert staying == crowd[-15:]
        assert server.metrics().closes() == {"pre_login_cap": len(crowd) - len(staying)}
        return staying

    staying = eventually(check)
    inside.sync()
    server.login().sync()  # and the oldest goes
    for dawdler in staying:
        dawdler.sock.close()
    server.expect_closes(pre_login_cap=46, client_closed=14)
    server.expect_unharmed()


@pytest.mark.slow
def test_long_waits(plain):
    """Keepalives come every 60 s plus a jitter of up to 5 s that differs between connections, and
    other traffic doesn't put them off; idle web connections are closed after 30 s; a home that is
    noted later than 5 s after login is a move."""
    start = time.monotonic()
    clients = [plain.login() for _ in range(8)]
    idle = plain.connect()
    idle.send(derp.http_request("GET", "/generate_204"))
    keepalive_at = {}
    time.sleep(6)
    clients[0].send_frame(derp.NOTE_PREFERRED, b"\1")
    plain.expect({"derp_home_moves_in": 1, "derp_home_moves_out": 0})
    clients[0].send_frame(derp.NOTE_PREFERRED, b"\0")
    plain.expect({"derp_home_moves_in": 1, "derp_home_moves_out": 1})
    idle.read_to_end(timeout=32)
    assert 29 < time.monotonic() - start < 33
    plain.expect_closes(http_idle=1)
    while len(keepalive_at) < len(clients) and time.monotonic() < start + 70:
        for client in clients:
            client.sync()
            while client.waiting:
                assert client.waiting.popleft() == (derp.KEEP_ALIVE, b"")
                keepalive_at[client] = time.monotonic() - start
        plain.metrics()
        time.sleep(0.05)
    assert len(keepalive_at) == len(clients)
    first, last = min(keepalive_at.values()), max(keepalive_at.values())
    assert 59 < first < last < 66
    assert last - first > 0.3, "no jitter"


@pytest.mark.ours
def test_a_crowd_from_one_address_makes_room_for_others(serve, tmp_path):
    """However old a connection from elsewhere is."""
    server = serve(tls=False, max_pre_login=16, debug_listen=f"unix:{tmp_path}/debug")
    others = [Dawdler("other", server.connect()) for _ in range(3)]
    crowd = [Dawdler("crowd", server.connect(source="127.0.0.2")) for _ in range(40)]

    def check():
        staying = still_open(crowd)
        assert staying == crowd[-12:]
        assert server.metrics().closes() == {"pre_login_cap": len(crowd) - len(staying)}

    eventually(check)
    assert all(other.is_open() for other in others)
    server.login().sync()
    server.expect_unharmed()
