"""One key, several connections: whoever sent last gets the traffic."""

import os
import selectors

import pytest

import derp
from server import eventually


@pytest.fixture
def friend(plain):
    return plain.login()


def twins(server, count):
    first = server.login()
    return [first] + [server.login(private=first.private) for _ in range(count - 1)]


def expect_active(friend, active):
    friend.send_packet(active.key, b"who gets this?")
    assert active.recv_packet() == (friend.key, b"who gets this?")


def dups(keys, conns, total):
    return {
        "derp_current_dup_client_keys": keys,
        "derp_current_dup_client_conns": conns,
        "derp_total_dup_client_conns": total,
    }


@pytest.mark.subset
def test_newest_is_active_and_both_stay_open(plain, friend):
    old, new = twins(plain, 2)
    expect_active(friend, new)
    old.expect_silence()
    plain.expect(
        dups(keys=1, conns=2, total=1) | {"derp_current_connections": 3, "derp_clients_local": 2}
    )


def who_gets_it(friend, connections):
    friend.send_packet(connections[0].key, b"")
    with selectors.DefaultSelector() as selector:
        for client in connections:
            selector.register(client.conn.sock, selectors.EVENT_READ, client)
        ((key, _),) = selector.select(derp.TIMEOUT)
    assert key.data.recv_packet() == (friend.key, b"")
    return key.data


ACTIVITY = {
    "packet": lambda client: client.send_packet(os.urandom(32), b""),
    "ping": lambda client: client.sync(),
    "home": lambda client: client.send_frame(derp.NOTE_PREFERRED, b"\1"),
    "pong": lambda client: client.send_frame(derp.PONG, bytes(8)),
    "unknown": lambda client: client.send_frame(0x7F, b""),
}


@pytest.mark.parametrize("activity", ACTIVITY)
def test_any_frame_makes_active(plain, friend, activity):
    old, new = twins(plain, 2)
    expect_active(friend, new)
    ACTIVITY[activity](old)

    def check():  # without a sync, which is an activity itself
        assert who_gets_it(friend, (old, new)) is old

    eventually(check)


def test_who_packets_seem_to_come_from(plain, friend):
    """Both may send, with the same key."""
    for twin in twins(plain, 2):
        twin.send_packet(friend.key, b"me")
        assert friend.recv_packet() == (twin.key, b"me")


def test_losing_the_active_falls_back_to_last_sender(plain, friend):
    a, b, c, d = twins(plain, 4)
    for twin in (d, b, a, c):
        twin.sync()
    plain.expect(dups(keys=1, conns=4, total=3))
    for leaver, heir in ((c, a), (a, b), (b, d)):
        leaver.close()
        plain.expect({"derp_current_connections": 1 + [c, a, b, d][::-1].index(heir) + 1})
        expect_active(friend, heir)
    plain.expect(dups(keys=0, conns=0, total=3))


def test_losing_another_changes_nothing(plain, friend):
    a, b, c = twins(plain, 3)
    b.sync()
    for leaver, remain in ((a, 3), (c, 2)):
        leaver.close()
        plain.expect({"derp_current_connections": remain})
        expect_active(friend, b)
    plain.expect(dups(keys=0, conns=0, total=2))


def test_ordinary_again_after_losing_the_twin(plain, friend):
    first, second = twins(plain, 2)
    second.close()
    plain.expect(dups(keys=0, conns=0, total=1))
    expect_active(friend, first)
    third = plain.login(private=first.private)
    plain.expect(dups(keys=1, conns=2, total=2))
    expect_active(friend, third)


def test_peer_gone_only_with_the_last(plain, friend):
    first, second = twins(plain, 2)
    for twin in (first, second):
        twin.send_packet(friend.key, b"hello")
        friend.recv_packet()
    second.close()
    plain.expect({"derp_current_connections": 2})
    expect_active(friend, first)  # had the end been announced, it would have come by now
    friend.expect_silence()
    first.close()
    assert friend.recv_peer_gone() == (first.key, derp.GONE_DISCONNECTED)
    plain.expect({"derp_peer_gone_disconnected_frames": 1})
    plain.expect_closes(client_closed=2)


def test_twins_can_talk_to_their_own_key(plain):
    """The sender has just become the active one: its packet comes back to itself."""
    first, second = twins(plain, 2)
    for twin in (first, second, first):
        twin.send_packet(twin.key, b"echo")
        assert twin.recv_packet() == (twin.key, b"echo")


def test_many_keys_twice(plain, friend):
    pairs = [twins(plain, 2) for _ in range(10)]
    plain.expect(dups(keys=10, conns=20, total=10))
    for old, new in pairs:
        expect_active(friend, new)
        old.close()
    plain.expect(dups(keys=0, conns=0, total=10) | {"derp_clients_local": 11})
