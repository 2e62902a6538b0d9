"""Broken logins and broken frames: each closes just its own connection, and is accounted for."""

import os
import random

import pytest
from nacl.public import PrivateKey
from nacl.secret import SecretBox

import derp


def refused(client):
    """The server must close, and say nothing after its greeting."""
    assert client.conn.read_to_end() == b""


# --- cut off --------------------------------------------------------------------------------------


@pytest.mark.subset
@pytest.mark.parametrize("end", ["finish", "reset"])
def test_cut_off_at_every_byte(plain, end):
    """A whole visit, request to packet, that ends after each of its bytes."""
    client = plain.login()
    info = derp.seal_client_info(PrivateKey.generate(), client.server_key, derp.client_info_json())
    visit = (
        derp.upgrade_request(derp.FAST_START)
        + derp.frame(derp.CLIENT_INFO, info)
        + derp.send_packet_frame(os.urandom(32), b"never whole")
    )
    for cut in range(len(visit)):
        conn = plain.connect()
        conn.send(visit[:cut])
        getattr(conn, end)()
    plain.expect({"derp_current_connections": 1, "derp_packets_received": 0}, timeout=10)
    plain.expect_closes(client_closed=len(visit))
    plain.expect_unharmed()


@pytest.mark.parametrize(
    "frame_type, length",
    [
        (derp.SEND_PACKET, derp.KEY_LEN + derp.MAX_PACKET),
        (derp.PING, 1000),
        (derp.NOTE_PREFERRED, 1),
        (0x7F, 1 << 20),
        (0x7F, 2**32 - 1),
    ],
)
def test_truncated_frames(either, frame_type, length):
    parts = {0, 1, min(length, 60000) - 1}
    for sent in parts:
        client = either.login()
        client.send_frame(frame_type, bytes(sent), length)
        client.close()
    either.expect({"derp_current_connections": 0, "derp_packets_received": 0})
    either.expect_closes(client_closed=len(parts))


# --- login ----------------------------------------------------------------------------------------


def client_info(length):
    """A ClientInfo frame of just this payload length, of which nothing can be opened."""
    return derp.frame(derp.CLIENT_INFO, os.urandom(length))


FIRST_FRAMES = {
    "other type": derp.frame(derp.PING, b"12345678"),
    "another type, long": derp.frame(derp.SEND_PACKET, bytes(1000)),
    "unknown type": derp.frame(0x7F, b""),
    "magic": derp.MAGIC + bytes(100),
    "empty": client_info(0),
    "key only": client_info(32),
    "one too short": client_info(55),
    "no box": client_info(56),
    "box too short for its tag": client_info(71),
    "box empty": client_info(72),
    "box closed": client_info(150),
    "largest": client_info(derp.MAX_CLIENT_INFO),
    "announced too long": derp.frame(derp.CLIENT_INFO, b"", derp.MAX_CLIENT_INFO + 1),
    "announced as 4 GiB": derp.frame(derp.CLIENT_INFO, b"", 2**32 - 1),
    "sent too long": client_info(derp.MAX_CLIENT_INFO + 1),
}


@pytest.mark.subset
@pytest.mark.parametrize("how", ["upgrade", "fast"])
@pytest.mark.parametrize("kind", FIRST_FRAMES)
def test_bad_first_frame(either, kind, how):
    client = either.open(how).greet()
    client.conn.offer(FIRST_FRAMES[kind])
    refused(client)
    either.expect({"derp_accepts": 1, "derp_current_connections": 0})
    either.expect_closes(login_failed=1)
    either.expect_unharmed()


BAD_JSON = {
    "nothing": b"",
    "no JSON": b"hello",
    "cut off": b'{"version":2',
    "trailing rubbish": b'{"version":2} more',
    "an array": b"[1,2]",
    "a number": b"2",
    "not UTF-8 nor JSON": b"\xff\xfe\x00",
    "version of a wrong type": b'{"version":"two"}',
    "mesh key too short": b'{"meshKey":"%s"}' % (b"a" * 63),
    "mesh key too long": b'{"meshKey":"%s"}' % (b"a" * 65),
    "mesh key not hex": b'{"meshKey":"%s"}' % (b"g" * 64),
    "mesh key empty": b'{"meshKey":""}',
    "mesh key a number": b'{"meshKey":1}',
    "very deep": b'{"x":' * 20000,
}


@pytest.mark.parametrize("kind", BAD_JSON)
def test_bad_json(plain, kind):
    client = plain.open().greet()
    client.send_client_info(BAD_JSON[kind])
    refused(client)
    plain.expect_closes(login_failed=1)


def test_sealed_by_another_key(plain):
    """Whoever doesn't have the private key can't log in with the public one."""
    client = plain.open().greet()
    info = derp.seal_client_info(PrivateKey.generate(), client.server_key, derp.client_info_json())
    client.send_frame(derp.CLIENT_INFO, client.key + info[derp.KEY_LEN :])
    refused(client)
    plain.expect_closes(login_failed=1)


def test_damaged_box(plain):
    client = plain.open().greet()
    info = bytearray(
        derp.seal_client_info(client.private, client.server_key, derp.client_info_json())
    )
    info[-1] ^= 1
    client.send_frame(derp.CLIENT_INFO, info)
    refused(client)
    plain.expect_closes(login_failed=1)


# HSalsa20 of zeros: what anybody can compute as the key "shared" with an all-zero public key.
ZERO_SHARED_KEY = bytes.fromhex("351f86faa3b988468a850122b65b0acece9c4826806aeee63de9c0da2bd7f91e")


def test_zero_key(plain):
    """Its box can be sealed by anybody, so it must be refused for itself."""
    client = plain.open().greet()
    box = SecretBox(ZERO_SHARED_KEY).encrypt(derp.client_info_json())
    client.send_frame(derp.CLIENT_INFO, bytes(derp.KEY_LEN) + box)
    refused(client)
    plain.expect_closes(login_failed=1)


# --- frames after login ---------------------------------------------------------------------------

# frame type, announced length, bytes sent of it, reason
BAD_FRAMES = {
    "NotePreferred of 0": (derp.NOTE_PREFERRED, 0, 0, "protocol_error"),
    "NotePreferred of 2": (derp.NOTE_PREFERRED, 2, 2, "protocol_error"),
    "NotePreferred of 4 GiB": (derp.NOTE_PREFERRED, 2**32 - 1, 0, "protocol_error"),
    "SendPacket of 0": (derp.SEND_PACKET, 0, 0, "protocol_error"),
    "SendPacket of 31": (derp.SEND_PACKET, 31, 31, "protocol_error"),
    "SendPacket one too long": (derp.SEND_PACKET, 32 + 65537, 32 + 65537, "packet_too_large"),
    "SendPacket one too long, header only": (derp.SEND_PACKET, 32 + 65537, 32, "packet_too_large"),
    "SendPacket of 1 MiB": (derp.SEND_PACKET, 1 << 20, 32, "packet_too_large"),
    "SendPacket of 4 GiB": (derp.SEND_PACKET, 2**32 - 1, 32, "packet_too_large"),
    "Ping of 0": (derp.PING, 0, 0, "protocol_error"),
    "Ping of 7": (derp.PING, 7, 7, "protocol_error"),
    "Ping of 1001": (derp.PING, 1001, 1001, "protocol_error"),
    "Ping of 4 GiB": (derp.PING, 2**32 - 1, 0, "protocol_error"),
    "WatchConns": (derp.WATCH_CONNS, 0, 0, "not_mesh_peer"),
    "ClosePeer": (derp.CLOSE_PEER, 32, 32, "not_mesh_peer"),
    "ForwardPacket": (derp.FORWARD_PACKET, 64, 64, "not_mesh_peer"),
    "ForwardPacket with content": (derp.FORWARD_PACKET, 100, 100, "not_mesh_peer"),
}


@pytest.mark.subset
@pytest.mark.parametrize("kind", BAD_FRAMES)
def test_bad_frame(either, kind):
    frame_type, length, sent, reason = BAD_FRAMES[kind]
    bystander, client = either.login(), either.login()
    client.send_packet(bystander.key, b"in order")
    bystander.recv_packet()
    # What was in order is relayed, even if the fault comes in the same flight.
    good = derp.send_packet_frame(bystander.key, b"still in order")
    client.conn.offer(good + derp.frame(frame_type, bytes(sent), length))
    refused(client)
    assert {bystander.recv(), bystander.recv()} == {
        (derp.RECV_PACKET, client.key + b"still in order"),
        (derp.PEER_GONE, client.key + bytes([derp.GONE_DISCONNECTED])),
    }
    either.expect({"derp_current_connections": 1, "derp_packets_received": 2})
    either.expect_closes(**{reason: 1})


@pytest.mark.ours
@pytest.mark.parametrize(
    "frame_type, length",
    [
        (derp.WATCH_CONNS, 1),
        (derp.CLOSE_PEER, 31),
        (derp.CLOSE_PEER, 33),
        (derp.FORWARD_PACKET, 0),
        (derp.FORWARD_PACKET, 63),
        (derp.FORWARD_PACKET, 2**32 - 1),
    ],
)
def test_privileged_frames_of_wrong_length(plain, frame_type, length):
    """Wrong in two ways; either reason will do, but just one."""
    client = plain.login()
    client.send_frame(frame_type, bytes(min(length, 100)), length)
    refused(client)
    plain.expect({"derp_current_connections": 0})
    closes = plain.metrics().closes()
    assert closes in ({"not_mesh_peer": 1}, {"protocol_error": 1})


def test_nobody_can_close_a_peer(plain):
    victim, attacker = plain.login(), plain.login()
    attacker.send_frame(derp.CLOSE_PEER, victim.key)
    refused(attacker)
    victim.sync()


def test_largest_packet_is_not_too_large(plain):
    client = plain.login()
    client.send_frame(derp.SEND_PACKET, client.key + bytes(derp.MAX_PACKET))
    assert client.recv_packet() == (client.key, bytes(derp.MAX_PACKET))


@pytest.mark.subset
def test_random_bytes_at_every_stage(plain):
    """Rubbish as request, as first frame and as later frames; no two runs are alike."""
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)  # shown when the test fails
    rng = random.Random(seed)
    for _ in range(30):
        for stage in (plain.connect, plain.open, plain.login):
            target = stage()
            conn = getattr(target, "conn", target)
            conn.offer(rng.randbytes(3000))
            conn.close()
    plain.expect({"derp_accepts": 60, "derp_current_connections": 0})
    plain.expect_unharmed()
    plain.stop()
