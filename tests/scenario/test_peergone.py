"""PeerGone, of both kinds."""

import os
import time

import pytest

import derp


@pytest.mark.subset
def test_disconnected_reaches_whom_it_concerns(either):
    """That is who has received something from the one who left."""
    leaver, talker, other = (either.login() for _ in range(3))
    leaver.send_packet(talker.key, b"hello")
    talker.recv_packet()
    other.send_packet(leaver.key, b"one way only")
    leaver.recv_packet()
    leaver.close()
    assert talker.recv_peer_gone() == (leaver.key, derp.GONE_DISCONNECTED)
    either.expect({"derp_peer_gone_disconnected_frames": 1, "derp_peer_gone_not_here_frames": 0})
    other.expect_silence()


def test_disconnected_comes_once_for_many_packets(plain):
    leaver, talker = plain.login(), plain.login()
    for _ in range(5):
        leaver.send_packet(talker.key, b"hello")
        talker.recv_packet()
    leaver.close()
    assert talker.recv_peer_gone() == (leaver.key, derp.GONE_DISCONNECTED)
    plain.expect({"derp_peer_gone_disconnected_frames": 1})


def test_disconnected_after_every_kind_of_end(either):
    talker = either.login()
    for end in (
        lambda c: c.conn.close(),
        lambda c: c.conn.reset(),
        lambda c: c.send_frame(derp.WATCH_CONNS),
    ):
        leaver = either.login()
        leaver.send_packet(talker.key, b"hello")
        talker.recv_packet()
        end(leaver)
        assert talker.recv_peer_gone() == (leaver.key, derp.GONE_DISCONNECTED)
    either.expect_closes(client_closed=2, not_mesh_peer=1)


def test_peers_of_every_worker(plain):
    """Every peer's end is told to everybody, whichever workers own the two keys."""
    stayers = [plain.login() for _ in range(6)]
    leavers = [plain.login() for _ in range(6)]
    for stayer in stayers:
        for leaver in leavers:
            leaver.send_packet(stayer.key, b"hello")
        for _ in leavers:
            stayer.recv_packet()
    for leaver in leavers:
        leaver.close()
    for stayer in stayers:
        gone = {stayer.recv_peer_gone() for _ in leavers}
        assert gone == {(leaver.key, derp.GONE_DISCONNECTED) for leaver in leavers}
    plain.expect({"derp_peer_gone_disconnected_frames": 36})


@pytest.mark.ours
def test_again_after_coming_back(plain):
    talker, leaver = plain.login(), plain.login()
    for _ in range(2):
        leaver.send_packet(talker.key, b"hello")
        talker.recv_packet()
        leaver.close()
        assert talker.recv_peer_gone() == (leaver.key, derp.GONE_DISCONNECTED)
        leaver = plain.login(private=leaver.private)


def test_not_here_only_for_disco(either):
    client = either.login()
    strangers = [os.urandom(32) for _ in range(3)]
    client.send_packet(strangers[0], b"data to nobody")
    client.send_packet(strangers[1], derp.disco()[:-1])
    client.send_packet(strangers[2], derp.disco())
    assert client.recv_peer_gone() == (strangers[2], derp.GONE_NOT_HERE)
    either.expect(
        {
            'derp_packets_dropped{reason="unknown_dest",kind="other"}': 2,
            'derp_packets_dropped{reason="unknown_dest",kind="disco"}': 1,
            'derp_bytes_dropped{reason="unknown_dest",kind="disco"}': derp.DISCO_MIN,
            "derp_peer_gone_not_here_frames": 1,
            "derp_peer_gone_disconnected_frames": 0,
        }
    )


@pytest.mark.subset
def test_not_here_is_limited(plain):
    """A burst of three, then one a second, for each client on its own."""
    client, other = plain.login(), plain.login()
    strangers = [os.urandom(32) for _ in range(10)]
    stranger = strangers[0]
    start = time.monotonic()
    client.send(b"".join(derp.send_packet_frame(s, derp.disco()) for s in strangers))
    told = {client.recv_peer_gone() for _ in range(3)}
    assert len(told) == 3
    assert told <= {(s, derp.GONE_NOT_HERE) for s in strangers}
    other.send_packet(stranger, derp.disco())
    assert other.recv_peer_gone() == (stranger, derp.GONE_NOT_HERE)
    sent = 11
    while True:  # ask until there is an answer again
        client.send_packet(stranger, derp.disco())
        sent += 1
        client.sync()
        if client.waiting:
            break
        time.sleep(0.05)
    assert time.monotonic() - start > 0.9
    assert client.recv_peer_gone() == (stranger, derp.GONE_NOT_HERE)
    plain.expect(
        {
            "derp_peer_gone_not_here_frames": 5,
            'derp_packets_dropped{reason="unknown_dest",kind="disco"}': sent,
        }
    )


def test_who_has_left_is_not_here(plain):
    leaver, talker = plain.login(), plain.login()
    talker.send_packet(leaver.key, b"cached by now")
    leaver.recv_packet()
    leaver.close()
    plain.expect({"derp_current_connections": 1})
    talker.send_packet(leaver.key, derp.disco())
    assert talker.recv_peer_gone() == (leaver.key, derp.GONE_NOT_HERE)
    back = plain.login(private=leaver.private)
    talker.send_packet(leaver.key, b"found again")
    assert back.recv_packet() == (talker.key, b"found again")
