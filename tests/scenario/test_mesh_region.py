"""Regions of two and three nodes: packets between them, who is where, and sums that add up."""

import itertools
import os

import pytest

import derp
from region import meet, talk
from server import ORACLE, eventually

MIXES = {
    "two": ("sluice", "sluice"),
    "three": ("sluice",) * 3,
    "beside derper": ("sluice", "derper"),
    "two beside derper": ("sluice", "sluice", "derper"),
    "beside two derpers": ("sluice", "derper", "derper"),
}


@pytest.fixture(params=MIXES.values(), ids=MIXES)
def mixed(region, request):
    return region(*request.param)


def window(region):
    """How many packets may be on their way to one receiver: derper queues 32 for each client."""
    return 28 if any(node.derper for node in region) else 128


def where(*clients):
    return [derp.node_key(client.key) for client in clients]


@pytest.mark.subset
def test_between_two(region):
    """Packets both ways, in order; then each node can say what went on."""
    pair = region(2)
    a, b = pair.login(0), pair.login(1)
    pair.expect_presence()
    count = 1000
    talk([(a, b), (b, a)], count, window(pair))
    for node in pair:
        node.expect(
            {
                "derp_packets_received": count,
                "derp_packets_sent": count,
                "derp_packets_forwarded_in": count,
                "derp_packets_forwarded_out": count,
                "derp_packets_dropped": 0,
            }
        )
    pair.expect_reconciled()


def test_everybody_with_everybody(mixed):
    """Whatever nodes they are on, and whatever these are."""
    clients = [mixed.login(i, how=how) for i in range(mixed.n) for how in ("fast", "websocket")]
    mixed.expect_presence()
    talk(list(itertools.permutations(clients, 2)), 60, window(mixed))
    mixed.expect_reconciled()
    forwarded = sum(node.metrics().sum("derp_packets_forwarded_out") for node in mixed)
    assert forwarded == 60 * 4 * mixed.n * (mixed.n - 1)
    for node in mixed:
        node.expect({"derp_packets_dropped": 0})


def test_large_packets_and_disco(mixed):
    first, *others = (mixed.login(i) for i in range(mixed.n))
    mixed.expect_presence()
    for size in (0, 1, 61, 62, 1400, 16384, 32768, 65535, 65536):
        for other in others:
            for sender, receiver in ((first, other), (other, first)):
                for packet in (os.urandom(size), derp.disco(os.urandom(8), max(62, size))):
                    sender.send_packet(receiver.key, packet)
                    assert receiver.recv_packet() == (sender.key, packet)


@pytest.mark.subset
def test_moving(mixed):
    """A client is found wherever it goes, and who knew it hears when it has gone for good."""
    last = mixed.n - 1
    mover = mixed.login(last)
    for step in range(4):
        friend = mixed.login(0)  # derper tells each connection only once
        meet(friend, mover)
        meet(mover, friend)
        talk([(friend, mover), (mover, friend)], 5, 4)
        here = (last + step) % mixed.n
        there = (here + 1) % mixed.n
        mixed.leave(here, mover)
        assert friend.recv_peer_gone() == (mover.key, derp.GONE_DISCONNECTED)
        mover = mixed.login(there, mover.private)
    mixed.expect_presence()


def test_moving_without_being_away(region):
    """On the next node first, then off the one before: nobody is told that it has gone."""
    trio = region(3)
    friend, mover = trio.login(0), trio.login(1)
    meet(mover, friend)
    for here, there in ((1, 2), (2, 0), (0, 1)):
        meet(friend, mover)
        talk([(friend, mover), (mover, friend)], 3, 2)
        new = trio.login(there, mover.private)
        # News comes in order: who reaches the later one has heard of the new one as well.
        meet(friend, trio.login(there))
        trio.leave(here, mover)
        mover = new
    meet(friend, mover)
    trio.expect_presence()
    friend.expect_silence()


def test_on_two_nodes_at_once(region):
    """Packets go where the key was seen first, and at home to the one that is there."""
    trio = region(3)
    a, b, c = (trio.login(i) for i in range(3))
    first = trio.login(0)
    trio.expect_presence()
    second = trio.login(1, first.private)
    trio.expect_presence()

    def goes(sender, receiver):
        packet = os.urandom(30)
        sender.send_packet(first.key, packet)
        assert receiver.recv_packet() == (sender.key, packet)

    goes(a, first)
    goes(b, second)
    goes(c, first)
    for twin in (first, second):
        twin.send_packet(c.key, b"it's me")
        assert c.recv_packet() == (first.key, b"it's me")
    trio.leave(0, first)
    trio.expect_presence()
    for sender in (a, b, c):
        goes(sender, second)
    c.expect_silence("one of the two is there still")
    trio.leave(1, second)
    assert c.recv_peer_gone() == (first.key, derp.GONE_DISCONNECTED)
    trio.expect_presence()


def test_who_is_told_of_the_end(mixed):
    """On every node those who received something, and only they."""
    leaver = mixed.login(0)
    talkers = [mixed.login(i) for i in range(mixed.n)]
    bystanders = [mixed.login(i) for i in range(mixed.n)]
    mixed.expect_presence()
    for talker in talkers:
        leaver.send_packet(talker.key, b"hello")
        assert talker.recv_packet() == (leaver.key, b"hello")
    for bystander in bystanders:
        bystander.send_packet(leaver.key, b"one way only")
        leaver.recv_packet()
    mixed.leave(0, leaver)
    for talker in talkers:
        assert talker.recv_peer_gone() == (leaver.key, derp.GONE_DISCONNECTED)
    mixed.expect_presence()
    for client in talkers + bystanders:
        client.expect_silence()
    for talker in talkers:
        talker.send_packet(leaver.key, derp.disco())
        assert talker.recv_peer_gone() == (leaver.key, derp.GONE_NOT_HERE)


def test_one_way(region):
    """Who dials knows the other's clients and reaches them; who doesn't knows and reaches none."""
    pair = region(2, dials={0: {1}, 1: set()})
    a, b = pair.login(0), pair.login(1)
    pair.expect_presence()
    talk([(a, b)], 50, window(pair))
    b.send_packet(a.key, derp.disco())
    assert b.recv_peer_gone() == (a.key, derp.GONE_NOT_HERE)
    pair[1].expect(
        {
            "derp_clients_remote": 0,
            "derp_packets_forwarded_out": 0,
            "derp_packets_forwarded_in": 50,
            'derp_packets_dropped{reason="unknown_dest"}': 1,
        }
    )
    pair.expect_reconciled()


def test_a_key_that_no_node_has(mixed):
    for i in range(mixed.n):
        client, stranger = mixed.login(i), os.urandom(32)
        client.send_packet(stranger, b"anybody?")
        client.send_packet(stranger, derp.disco())
        assert client.recv_peer_gone() == (stranger, derp.GONE_NOT_HERE)
        mixed[i].expect({'derp_packets_dropped{reason="unknown_dest"}': 2})


def test_without_wires(region):
    """Nodes dial each other directly."""
    pair = region(2, direct=True)
    a, b = pair.login(0), pair.login(1)
    pair.expect_presence()
    talk([(a, b), (b, a)], 50, window(pair))
    if ORACLE:
        return
    for node in pair:

        def check(node=node):
            states = sorted(row["state"] for row in node.links())
            assert states == ["this very server", "up"]

        eventually(check, timeout=10)


# --- what they say of it --------------------------------------------------------------------------


@pytest.mark.ours
def test_flows_on_both_sides(region):
    """Where a packet comes in it is counted as forwarded, and there as received from a node."""
    pair = region(2)
    a, b = pair.login(0), pair.login(1)
    pair.expect_presence()
    for _ in range(10):
        a.send_packet(b.key, bytes(100))
        b.recv_packet()

    def check():
        for i, columns in enumerate(
            (
                ("", derp.node_key(pair[1].key), 10, 1000),
                (derp.node_key(pair[0].key), "", 0, 0),
            )
        ):
            (row,) = pair[i].flows()["flows"]
            assert [row["src"], row["dst"]] == where(a, b)
            assert (row["packets"], row["bytes"], row["dropped_packets"]) == (10, 1000, 0)
            names = ("recv_from", "fwded_to", "fwded_packets", "fwded_bytes")
            assert tuple(row[name] for name in names) == columns

    eventually(check)
    for i, columns in enumerate((("", 1), (0, ""))):
        line = pair[i].get("/debug/flows").text.splitlines()[3]
        cells = [line[at : at + 10].strip() for at in (33, 44)]
        names = [derp.short_key(pair[n].key) if n != "" else "" for n in columns]
        assert cells == names


@pytest.mark.ours
def test_no_packet_is_counted_twice(region):
    """The region's packets are the sum over its nodes, less what came to each from another."""
    trio = region(3)
    clients = [trio.login(i) for i in range(3) for _ in range(2)]
    trio.expect_presence()
    talk(list(itertools.permutations(clients, 2)), 20, 128)
    stranger = os.urandom(32)
    for client in clients:
        client.send_packet(stranger, bytes(50))
    sent = 30 * 20 + 6

    def check():
        pages = [node.flows("&limit=0") for node in trio]
        totals = [page["totals"] for page in pages]
        assert sum(t["packets"] - t["mesh_packets"] for t in totals) == sent
        assert sum(t["fwded_packets"] for t in totals) == 24 * 20
        assert sum(t["mesh_packets"] for t in totals) == 24 * 20
        assert sum(t["fwded_bytes"] for t in totals) == sum(t["mesh_bytes"] for t in totals)
        assert sum(t["dropped_packets"] for t in totals) == 6
        rows = [row for page in pages for row in page["flows"]]
        assert sum(row["packets"] for row in rows if not row["recv_from"]) == sent

    eventually(check)
    for node in trio:
        metrics, totals = node.metrics(), node.flows()["totals"]
        assert totals["packets"] == metrics.sum("derp_packets_received") + totals["mesh_packets"]
        assert totals["mesh_packets"] == metrics.sum("derp_packets_forwarded_in")
        assert totals["fwded_packets"] == metrics.sum("derp_packets_forwarded_out")
        for row in node.links():
            if row["state"] == "up":
                assert row["tx_packets"] == row["rx_packets"] == 4 * 20
    trio.expect_reconciled()


@pytest.mark.ours
def test_links_on_the_page(region):
    """One line a node, itself included."""
    trio = region(3)
    for i in range(3):
        trio.login(i)
    trio.expect_presence()
    for i, node in enumerate(trio):

        def check(i=i, node=node):
            rows = node.links()
            assert len(rows) == 3
            for j, row in enumerate(rows):
                assert row["address"] == "%s:%d" % trio.wire[i, j].address
                assert row["dial"] == trio.wire[i, j].address[0]
                if i == j:
                    assert row["state"] == "this very server"
                    continue
                assert (row["state"], row["server"]) == ("up", derp.node_key(trio[j].key))
                assert (row["dials"], row["logins"], row["error"]) == (1, 1, "")

        eventually(check)
        node.expect({"derp_watchers": 2})


# --- the end of a node ----------------------------------------------------------------------------


@pytest.mark.subset
def test_a_node_is_stopped(mixed):
    """It ends in time and well, and the others forget its clients."""
    stop_one(mixed)


def stop_one(mixed):
    leavers, stayer = [mixed.login(0) for _ in range(5)], mixed.login(1)
    mixed.expect_presence()
    for leaver in leavers:
        leaver.send_packet(stayer.key, b"hello")
        stayer.recv_packet()
    mixed[0].stop()
    mixed.lose(0)
    gone = {stayer.recv_peer_gone() for _ in leavers}
    assert gone == {(leaver.key, derp.GONE_DISCONNECTED) for leaver in leavers}
    mixed.expect_presence(down={0})
    return leavers, stayer


@pytest.mark.parametrize("name", ["three", "two beside derper"])
def test_a_node_comes_back(region, name):
    """The others find it again, and those of its clients that are there again."""
    trio = region(*MIXES[name])
    leavers, stayer = stop_one(trio)
    trio[0].restart()
    again = [trio.login(0, leaver.private) for leaver in leavers[:3]]
    trio.settle()
    trio.expect_presence()
    for client in again:
        talk([(client, stayer), (stayer, client)], 5, 4)
    for i in (1, 2):
        assert len(trio.wire[i, i].dials) == 1, "who knows that it is itself dials no more"
        assert len(trio.wire[i, 0].dials) >= 2
