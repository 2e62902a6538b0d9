"""STUN: only what Tailscale's clients send is answered."""

import ipaddress
import os
import socket
import struct
import zlib

import pytest

import derp
from server import LOOPBACK, free_port

COOKIE = 0x2112A442
BINDING_REQUEST, BINDING_SUCCESS = 0x0001, 0x0101
XOR_MAPPED_ADDRESS, SOFTWARE, FINGERPRINT = 0x0020, 0x8022, 0x8028


def attribute(kind, value):
    return struct.pack(">HH", kind, len(value)) + value + bytes(-len(value) % 4)


def message(transaction, attributes, kind=BINDING_REQUEST, cookie=COOKIE):
    return struct.pack(">HHI", kind, len(attributes), cookie) + transaction + attributes


def fingerprint(head):
    return attribute(FINGERPRINT, struct.pack(">I", zlib.crc32(head) ^ 0x5354554E))


def request(transaction, software=b"tailnode", more=b"", kind=BINDING_REQUEST, cookie=COOKIE):
    """A request as Tailscale's clients make it: SOFTWARE, then FINGERPRINT."""
    attributes = attribute(SOFTWARE, software) + more
    # The length in front counts the fingerprint, which is computed over all that is before it.
    head = message(transaction, attributes + bytes(8), kind, cookie)[:-8]
    return head + fingerprint(head)


def unmask(value, transaction):
    """(family, address, port) of a XOR-MAPPED-ADDRESS."""
    family, port = struct.unpack_from(">xBH", value)
    mask = struct.pack(">I", COOKIE) + transaction
    address = bytes(a ^ b for a, b in zip(value[4:], mask))
    return family, str(ipaddress.ip_address(address)), port ^ (COOKIE >> 16)


class Asker:
    def __init__(self, server):
        host, port = server.address[0], server.flags["stun-port"]
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.settimeout(derp.TIMEOUT)
        self.sock.connect((host, port))

    def ask(self):
        """Send a proper request and return what the answer says."""
        transaction = os.urandom(12)
        self.sock.send(request(transaction))
        return self.answer(transaction)

    def answer(self, transaction):
        data = self.sock.recv(2048)
        kind, length, cookie = struct.unpack_from(">HHI", data)
        assert (kind, length, cookie) == (BINDING_SUCCESS, len(data) - 20, COOKIE)
        assert data[8:20] == transaction
        kind, length = struct.unpack_from(">HH", data, 20)
        assert (kind, length) == (XOR_MAPPED_ADDRESS, len(data) - 24), "this attribute alone"
        return unmask(data[24:], transaction)


@pytest.fixture(params=[LOOPBACK, "::1"], ids=["v4", "v6"])
def stun(serve, request):
    host = request.param
    return serve(tls=False, host=host, stun="true", stun_port=free_port(socket.SOCK_DGRAM, host))


@pytest.fixture
def asker(stun):
    asker = Asker(stun)
    yield asker
    asker.sock.close()


@pytest.mark.subset
def test_answer(stun, asker):
    host, port = asker.sock.getsockname()[:2]
    version = 6 if ":" in host else 4
    for _ in range(3):
        assert asker.ask() == (2 if version == 6 else 1, host, port)
    stun.expect(
        {
            'stun_requests{disposition="success"}': 3,
            "stun_requests": 3,
            f'stun_addrfamily{{family="ipv{version}"}}': 3,
            "stun_addrfamily": 3,
        }
    )


def test_many_at_once(asker):
    """All of a burst are answered, each with its own transaction."""
    transactions = {os.urandom(12) for _ in range(100)}
    for transaction in transactions:
        asker.sock.send(request(transaction))
    answered = set()
    for _ in transactions:
        answered.add(asker.sock.recv(2048)[8:20])
    assert answered == transactions


def test_unknown_attributes_are_skipped(asker):
    transaction = os.urandom(12)
    asker.sock.send(request(transaction, more=attribute(0x8055, b"odd") + attribute(0x8056, b"")))
    asker.answer(transaction)


def bad_requests():
    transaction = bytes(range(12))
    good = request(transaction)
    software = attribute(SOFTWARE, b"tailnode")
    wrong_print = message(transaction, software + attribute(FINGERPRINT, b"\0\1\2\3"))
    bare = message(transaction, bytes(8))[:-8]
    return {
        "empty": b"",
        "one byte": b"\0",
        "rubbish": os.urandom(100),
        "header only": message(transaction, b""),
        "cut off": good[:-1],
        "longer than it says": good + b"\0\0\0\0",
        "other software": request(transaction, software=b"othernod"),
        "software longer": request(transaction, software=b"tailnode2"),
        "no software": bare + fingerprint(bare),
        "no fingerprint": message(transaction, software),
        "wrong fingerprint": wrong_print,
        "fingerprint not last": message(transaction, software + fingerprint(good[:-8]) + software),
        "attribute beyond the end": message(
            transaction, struct.pack(">HH", SOFTWARE, 400) + b"tailnode"
        ),
        "other cookie": request(transaction, cookie=0x12345678),
        "indication": request(transaction, kind=0x0011),
        "response": request(transaction, kind=BINDING_SUCCESS),
        "large": bytes(60000),
    }


@pytest.mark.subset
def test_everything_else_is_dropped_in_silence(stun, asker):
    """A server that answers others could be used to reflect traffic."""
    bad = bad_requests()
    for data in bad.values():
        asker.sock.send(data)
    host, port = asker.sock.getsockname()[:2]
    # Datagrams keep their order here: the first answer is the one to the one proper request.
    assert asker.ask()[1:] == (host, port)
    stun.expect(
        {
            'stun_requests{disposition="success"}': 1,
            "stun_requests": 1 + len(bad),
            "stun_addrfamily": 1,
        }
    )


def test_switched_off(serve):
    port = free_port(socket.SOCK_DGRAM)
    server = serve(tls=False, stun="false", stun_port=port)
    asker = Asker(server)
    with pytest.raises(ConnectionRefusedError):
        asker.ask()
    asker.sock.close()
