"""A small DERP client for tests, written from the protocol page and not from any server's code.

Three layers, so that a test can stop, or misbehave, at each of them:

    Conn, WsConn    bytes over TCP, TLS or WebSocket, every wait with a time-out
    http_request    the bytes of an HTTP request, as broken as the caller likes
    Client          DERP frames: greeting, login, packets

Everything blocks. Time-outs raise TimeoutError, an ended connection raises Closed; both are the
test's failure unless it expects them.
"""

import base64
import contextlib
import hashlib
import ipaddress
import json
import os
import socket
import ssl
import struct
import time
from collections import deque
from typing import NamedTuple

from nacl.public import Box, PrivateKey, PublicKey

# Sanitizer builds are slow: every time-out in these tests is stretched by this factor.
SCALE = float(os.environ.get("SLUICE_TIME_SCALE", "1"))
TIMEOUT = 5.0 * SCALE

SERVER_KEY = 0x01
CLIENT_INFO = 0x02
SERVER_INFO = 0x03
SEND_PACKET = 0x04
RECV_PACKET = 0x05
KEEP_ALIVE = 0x06
NOTE_PREFERRED = 0x07
PEER_GONE = 0x08
PEER_PRESENT = 0x09
FORWARD_PACKET = 0x0A
WATCH_CONNS = 0x10
CLOSE_PEER = 0x11
PING = 0x12
PONG = 0x13
HEALTH = 0x14
RESTARTING = 0x15

GONE_DISCONNECTED = 0
GONE_NOT_HERE = 1

# Flags of PeerPresent.
REGULAR = 1
MESH_PEER = 2
PROBER = 4
NOT_IDEAL = 8

MAGIC = b"DERP\xf0\x9f\x94\x91"
DISCO_MAGIC = b"TS\xf0\x9f\x92\xac"
DISCO_MIN = 62
KEY_LEN = 32
NONCE_LEN = 24
MAX_PACKET = 65536
MAX_CLIENT_INFO = 256 * 1024

WS_CONTINUATION, WS_TEXT, WS_BINARY = 0, 1, 2
WS_CLOSE, WS_PING, WS_PONG = 8, 9, 10
WS_USUAL_LIMIT = 32768


class Closed(Exception):
    """The other end has closed or reset the connection."""


class Frame(NamedTuple):
    type: int
    payload: bytes


def frame(frame_type, payload=b"", length=None):
    """A frame's bytes; `length` overrides the true one."""
    return struct.pack(">BI", frame_type, len(payload) if length is None else length) + payload


def send_packet_frame(dst, packet):
    return frame(SEND_PACKET, dst + packet)


def forward_frame(src, dst, packet):
    return frame(FORWARD_PACKET, src + dst + packet)


class Present(NamedTuple):
    """PeerPresent: somebody has logged in."""

    key: bytes
    address: str  # as `Conn.local_address` has it
    flags: int


class Gone(NamedTuple):
    """PeerGone: the last connection of a key has ended, or it never was there."""

    key: bytes
    reason: int


def parse_peer_present(payload):
    """Newer servers append to it."""
    assert len(payload) >= KEY_LEN + 19, f"PeerPresent of {len(payload)} bytes"
    ip, port, flags = struct.unpack_from(">16sHB", payload, KEY_LEN)
    ip = ipaddress.IPv6Address(ip)
    host = ip.ipv4_mapped or f"[{ip}]"
    return Present(payload[:KEY_LEN], f"{host}:{port}", flags)


def peer_present_frame(key, ip="192.0.2.1", port=4711, flags=REGULAR, more=b""):
    address = ipaddress.IPv6Address(f"::ffff:{ip}").packed
    return frame(PEER_PRESENT, key + address + struct.pack(">HB", port, flags) + more)


def peer_gone_frame(key, reason=GONE_DISCONNECTED):
    return frame(PEER_GONE, key + bytes([reason]))


def disco(body=b"", size=DISCO_MIN):
    """A packet that looks like path discovery: `body` behind the magic, padded to `size`."""
    return (DISCO_MAGIC + body).ljust(size, b"\0")


def node_key(public):
    """The text form of a public key."""
    return "nodekey:" + public.hex()


def short_key(public):
    """The short form of a public key, as in logs and in the flow table."""
    return "[" + base64.b64encode(public).decode()[:5] + "]"


# --- bytes ----------------------------------------------------------------------------------------


class Conn:
    """A connected socket with a read buffer."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = bytearray()

    @property
    def local_address(self):
        """'host:port' of this end, as the server should log it."""
        host, port = self.sock.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def send(self, data):
        try:
            self.sock.sendall(data)
        except TimeoutError:
            raise
        except OSError as e:
            raise Closed(str(e)) from e

    def offer(self, data):
        """Send to a server that may close before it has read everything."""
        with contextlib.suppress(Closed):
            self.send(data)

    def fill(self, timeout=TIMEOUT):
        """Read what there is, at least one byte, into the buffer."""
        self.sock.settimeout(max(timeout, 0.001))
        try:
            data = self.sock.recv(65536)
        except TimeoutError:
            raise
        except OSError as e:
            raise Closed(str(e)) from e
        finally:
            self.sock.settimeout(TIMEOUT)
        if not data:
            raise Closed("end of stream")
        self.buffer += data

    def fill_all(self):
        """Wait for something, then read all that can be had without waiting."""
        self.fill()
        while isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
            self.fill()

    def read(self, n, timeout=TIMEOUT):
        deadline = time.monotonic() + timeout
        while len(self.buffer) < n:
            self.fill(deadline - time.monotonic())
        data = bytes(self.buffer[:n])
        del self.buffer[:n]
        return data

    def read_until(self, mark):
        while mark not in self.buffer:
            self.fill()
        return self.read(self.buffer.index(mark) + len(mark))

    def read_to_end(self, timeout=TIMEOUT):
        """Everything up to the other end's close."""
        deadline = time.monotonic() + timeout
        try:
            while True:
                self.fill(deadline - time.monotonic())
        except Closed:
            return bytes(self.buffer)

    def finish(self):
        """Send FIN without waiting for anything (no close_notify)."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        self.sock.close()

    def reset(self):
        """Close with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def dial(address, rcvbuf=None, source=None):
    """Connect a plain socket. `rcvbuf` caps what the kernel takes in while nobody reads; `source`
    is the address it comes from."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    if rcvbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    if source:
        sock.bind((source, 0))
    sock.settimeout(TIMEOUT)
    sock.connect(address)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def tls_context(version=None, alpn=None):
    """A context that trusts everyone; `version` pins the protocol version."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version:
        context.minimum_version = context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


class WsConn(Conn):
    """WebSocket over a Conn: what is sent goes out as messages; read is what they hold, joined."""

    def __init__(self, conn):
        super().__init__(conn.sock)
        self.conn = conn
        self.lengths = []  # payload length of each data frame that came in
        self.controls = []  # (opcode, payload) of each control frame that came in
        self.closing = False  # a Close has been sent

    def send(self, data):
        """As messages that the usual library's default limit lets pass."""
        for start in range(0, len(data), WS_USUAL_LIMIT):
            self.send_message(data[start : start + WS_USUAL_LIMIT])

    def send_message(self, payload, opcode=WS_BINARY, fin=True, rsv=0, mask=True):
        self.closing |= opcode == WS_CLOSE
        self.conn.send(ws_frame(payload, opcode, fin, rsv, mask))

    def fill(self, timeout=TIMEOUT):
        deadline = time.monotonic() + timeout

        def take(n):
            return self.conn.read(n, deadline - time.monotonic())

        first, second = take(2)
        assert not second & 0x80, "a server must not mask"
        assert first & 0x70 == 0, "no extension was agreed on"
        length = second & 0x7F
        if length == 126:
            length = int.from_bytes(take(2), "big")
        elif length == 127:
            length = int.from_bytes(take(8), "big")
        self._take_in(first & 0x0F, take(length))

    def _take_in(self, opcode, payload):
        if opcode & 0x8:
            self._take_control(opcode, payload)
            return
        assert opcode in (WS_BINARY, WS_CONTINUATION), "DERP travels in binary messages"
        self.lengths.append(len(payload))
        self.buffer += payload

    def _take_control(self, opcode, payload):
        self.controls.append((opcode, payload))
        if opcode == WS_CLOSE and not self.closing:
            # Servers may wait for the answer before they close the connection.
            with contextlib.suppress(Closed):
                self.send_message(payload, WS_CLOSE)


def ws_frame(payload, opcode=WS_BINARY, fin=True, rsv=0, mask=True):
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if mask else 0
    if len(payload) < 126:
        head += bytes([bit | len(payload)])
    elif len(payload) < 65536:
        head += bytes([bit | 126]) + len(payload).to_bytes(2, "big")
    else:
        head += bytes([bit | 127]) + len(payload).to_bytes(8, "big")
    if not mask:
        return head + payload
    key = os.urandom(4)
    pad = (key * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")
    return head + key + masked.to_bytes(len(payload), "big")


# --- HTTP -----------------------------------------------------------------------------------------


class Response(NamedTuple):
    status: int
    headers: dict  # names in lower case
    head: bytes


def http_request(method, path, headers=(), body=b""):
    """A request's bytes. `headers` are (name, value) pairs, or bytes that go out as they are."""
    lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: 127.0.0.1"]
    for header in headers:
        lines.append(header if isinstance(header, bytes) else ": ".join(header).encode())
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def upgrade_request(*extra, upgrade="DERP", path="/derp"):
    return http_request("GET", path, [("Connection", "Upgrade"), ("Upgrade", upgrade), *extra])


FAST_START = ("Derp-Fast-Start", "1")


def websocket_request(key, *extra, protocol="derp", version="13"):
    return http_request(
        "GET",
        "/derp",
        [
            ("Connection", "keep-alive, Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", version),
            ("Sec-WebSocket-Key", key),
            ("Sec-WebSocket-Protocol", protocol),
            *extra,
        ],
    )


def read_response_head(conn):
    head = conn.read_until(b"\r\n\r\n")
    status, *lines = head[:-4].decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Response(int(status.split()[1]), headers, head)


def websocket_accept(key):
    """What the server must answer to a Sec-WebSocket-Key (RFC 6455, 4.2.2)."""
    digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return base64.b64encode(digest).decode()


def open_websocket(conn, *extra):
    """Upgrade `conn` to WebSocket and check the server's answer."""
    key = base64.b64encode(os.urandom(16)).decode()
    conn.send(websocket_request(key, *extra))
    answer = read_response_head(conn)
    assert answer.status == 101
    assert answer.headers["upgrade"].lower() == "websocket"
    assert answer.headers["connection"].lower() == "upgrade"
    assert answer.headers["sec-websocket-accept"] == websocket_accept(key)
    assert answer.headers["sec-websocket-protocol"] == "derp"
    assert "sec-websocket-extensions" not in answer.headers
    return WsConn(conn)


# --- DERP -----------------------------------------------------------------------------------------


def open_derp(conn, how="upgrade"):
    """Bring `conn` to where the server greets, by one of the ways real clients use."""
    if how == "websocket":
        return open_websocket(conn)
    if how == "fast":
        conn.send(upgrade_request(FAST_START))
        return conn
    # Very old clients name WebSocket, give no subprotocol, and mean raw DERP all the same.
    conn.send(upgrade_request(upgrade="WebSocket" if how == "old" else "DERP"))
    answer = read_response_head(conn)
    assert answer.status == 101, answer
    return conn


def seal_client_info(private, server_key, plaintext):
    """ClientInfo's payload: key, nonce and box."""
    box = Box(private, PublicKey(server_key))
    return bytes(private.public_key) + bytes(box.encrypt(plaintext))


def client_info_json(**fields):
    return json.dumps({"version": 2, "CanAckPings": True, **fields}).encode()


class Session:
    """DERP frames over a Conn, whichever end of it is ours."""

    def __init__(self, conn):
        self.conn = conn
        self.waiting = deque()  # frames that `sync` met before its Pong

    def send(self, data):
        self.conn.send(data)

    def send_frame(self, frame_type, payload=b"", length=None):
        self.conn.send(frame(frame_type, payload, length))

    def recv(self, timeout=TIMEOUT):
        if self.waiting:
            return self.waiting.popleft()
        return self._read_frame(timeout)

    def _read_frame(self, timeout=TIMEOUT):
        # One deadline for both parts: a server that stops amid a frame has failed.
        deadline = time.monotonic() + timeout
        frame_type, length = struct.unpack(">BI", self.conn.read(5, timeout))
        assert length <= 1 << 20, "real clients drop the connection on this"
        return Frame(frame_type, self.conn.read(length, deadline - time.monotonic()))

    def expect(self, frame_type, timeout=TIMEOUT):
        got = self.recv(timeout)
        assert got.type == frame_type, f"wanted frame {frame_type:#x}, got {got}"
        return got.payload

    def buffered_frames(self):
        """The frames that are complete in the buffer, for tests that wait by themselves."""
        buffer, frames, at = self.conn.buffer, [], 0
        while len(buffer) >= at + 5:
            frame_type, length = struct.unpack_from(">BI", buffer, at)
            if len(buffer) < at + 5 + length:
                break
            frames.append(Frame(frame_type, bytes(buffer[at + 5 : at + 5 + length])))
            at += 5 + length
        del buffer[:at]
        return frames

    def close(self):
        self.conn.close()


class Client(Session):
    """One DERP session over a Conn that `open_derp` has prepared."""

    def __init__(self, conn, private=None):
        super().__init__(conn)
        self.private = private or PrivateKey.generate()
        self.key = bytes(self.private.public_key)
        self.server_key = None

    # Login

    def greet(self):
        payload = self.expect(SERVER_KEY)
        assert payload.startswith(MAGIC)
        assert KEY_LEN + len(MAGIC) <= len(payload) <= 1024
        self.server_key = payload[len(MAGIC) :][:KEY_LEN]
        return self

    def send_client_info(self, plaintext=None):
        plaintext = client_info_json() if plaintext is None else plaintext
        self.send_frame(CLIENT_INFO, seal_client_info(self.private, self.server_key, plaintext))

    def read_server_info(self):
        sealed = self.expect(SERVER_INFO)
        return json.loads(Box(self.private, PublicKey(self.server_key)).decrypt(sealed))

    def login(self, **fields):
        self.greet()
        self.send_client_info(client_info_json(**fields))
        info = self.read_server_info()
        assert info["version"] == 2
        return self

    def sync(self):
        """Return once the server has handled all that was sent: frames are handled in order, and
        the Pong to a Ping sent now comes behind them."""
        token = os.urandom(8)
        self.send_frame(PING, token)
        while (got := self._read_frame()) != (PONG, token):
            self.waiting.append(got)

    # Packets

    def expect_silence(self, why="something has come"):
        """All that was sent has been handled, and nothing has come for us."""
        self.sync()
        assert not self.waiting, why

    def send_packet(self, dst, packet):
        self.send_frame(SEND_PACKET, dst + packet)

    def recv_packet(self, timeout=TIMEOUT):
        """(source key, packet)"""
        payload = self.expect(RECV_PACKET, timeout)
        return payload[:KEY_LEN], payload[KEY_LEN:]

    def recv_peer_gone(self, timeout=TIMEOUT):
        """(key, reason)"""
        payload = self.expect(PEER_GONE, timeout)
        return payload[:KEY_LEN], payload[KEY_LEN]

    # What only mesh peers may do

    def watch(self):
        self.send_frame(WATCH_CONNS)
        return self

    def forward(self, src, dst, packet):
        self.send(forward_frame(src, dst, packet))

    def close_peer(self, key):
        self.send_frame(CLOSE_PEER, key)

    def recv_presence(self, timeout=TIMEOUT):
        """Present or Gone, whichever comes next."""
        got = self.recv(timeout)
        if got.type == PEER_PRESENT:
            return parse_peer_present(got.payload)
        assert got.type == PEER_GONE, f"wanted news of who is present, got {got}"
        return Gone(got.payload[:KEY_LEN], got.payload[KEY_LEN])
