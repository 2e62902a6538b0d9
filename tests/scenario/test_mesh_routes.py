"""Which link is used for a key that several, one or none of them reach, and when it has left."""

import os

import pytest

import derp
from mesh import both_reach, flow_of, keys, knows, mesh_peer
from server import eventually

# --- who is used ----------------------------------------------------------------------------------


@pytest.mark.subset
def test_the_oldest_link_is_used(two_links):
    node, first, second = two_links
    (key,) = keys(1)
    client = node.login()
    second.present(key)
    knows(node, 1)
    first.present(key)
    node.expect({"derp_multiforwarder_created": 1, "derp_clients_remote": 1})

    def goes_by(link):
        packet = os.urandom(40)
        client.send_packet(key, packet)
        assert link.recv_forward() == (client.key, key, packet)

    goes_by(second)
    second.present(key)  # again: it stays the older one
    goes_by(second)
    second.gone(key)
    node.expect({"derp_multiforwarder_deleted": 1, "derp_clients_remote": 1})
    goes_by(first)
    second.present(key)  # now it is the younger one
    node.expect({"derp_multiforwarder_created": 2})
    goes_by(first)
    first.gone(key)
    node.expect({"derp_multiforwarder_deleted": 2})
    goes_by(second)
    second.gone(key)
    knows(node, 0)
    client.send_packet(key, b"to nobody")
    node.expect({'derp_packets_dropped{reason="unknown_dest"}': 1})


@pytest.mark.ours
def test_ways_to_a_key_on_the_page(two_links):
    node, first, second = two_links
    (key,) = keys(1)

    def expect_row(forwarders, link):
        def check():
            rows = {row["key"]: row for row in node.clients() if row["forwarders"]}
            row = rows.get(derp.node_key(key))
            assert (row and (row["forwarders"], row["via"])) == (
                forwarders and (forwarders, derp.node_key(link.node.key)) or None
            )

        eventually(check)

    second.present(key)
    expect_row(1, second)
    first.present(key)
    expect_row(2, second)
    second.gone(key)
    expect_row(1, first)
    first.gone(key)
    expect_row(0, None)


def test_flows_follow_the_link(two_links):
    """A flow that changes its way keeps counting, and names the last one."""
    node, first, second = two_links
    (key,) = keys(1)
    client = node.login()
    both_reach(node, first, second, key)
    client.send_packet(key, b"12345")
    first.recv_forward()
    first.gone(key)
    node.expect({"derp_multiforwarder_deleted": 1})
    client.send_packet(key, b"12345")
    second.recv_forward()
    node.expect({"derp_packets_forwarded_out": 2})
    if node.derper:
        return

    def check():
        row = flow_of(node, dst=derp.node_key(key))
        assert row["fwded_to"] == derp.node_key(second.node.key)
        assert (row["packets"], row["fwded_packets"], row["fwded_bytes"]) == (2, 2, 10)

    eventually(check)


def test_not_here_forgets(two_links):
    """A link that says of a key that it isn't there is not used for it again."""
    node, first, second = two_links
    (key,) = keys(1)
    client = node.login()
    both_reach(node, first, second, key)
    client.send_packet(key, derp.disco())
    first.recv_forward()
    first.gone(key, reason=derp.GONE_NOT_HERE)
    node.expect({"derp_multiforwarder_deleted": 1})
    client.send_packet(key, derp.disco())
    second.recv_forward()
    second.gone(key, reason=derp.GONE_NOT_HERE)
    knows(node, 0)
    client.send_packet(key, derp.disco())
    assert client.recv_peer_gone() == (key, derp.GONE_NOT_HERE)


def test_gone_by_whom_it_never_was(two_links):
    """That a key is gone counts only from a link that had it."""
    node, first, second = two_links
    (key,) = keys(1)
    client = node.login()
    first.present(key)
    knows(node, 1)
    second.gone(key)
    node.expect({"derp_packet_forwarder_delete_other_value": 1, "derp_clients_remote": 1})
    client.send_packet(key, b"hello")
    assert first.recv_forward() == (client.key, key, b"hello")
    second.gone(*keys(10))
    second.gone(client.key)
    client.send_packet(client.key, b"here I am")
    assert client.recv_packet() == (client.key, b"here I am")


def test_unknown_reasons_are_reasons(one_link):
    node, link = one_link
    link.present(*(known := keys(3)))
    knows(node, 3)
    link.gone(known[0], reason=2)
    link.gone(known[1], reason=255)
    knows(node, 1)


# --- the end of a key -----------------------------------------------------------------------------


def test_leaving_the_region(two_links):
    """Who received from a key is told when it is gone from the last place that it was at."""
    node, first, second = two_links
    src = derp.PrivateKey.generate()
    key = bytes(src.public_key)
    peer, receiver, bystander = mesh_peer(node), node.login(), node.login()
    both_reach(node, first, second, key)
    here = node.login(private=src)
    peer.forward(key, receiver.key, b"hello")
    assert receiver.recv_packet() == (key, b"hello")
    first.gone(key)
    node.expect({"derp_multiforwarder_deleted": 1})
    here.close()
    knows(node, 1)
    receiver.expect_silence("it is with the second still")
    second.gone(key)
    assert receiver.recv_peer_gone() == (key, derp.GONE_DISCONNECTED)
    bystander.expect_silence()


def test_moving_here_before_leaving_there(one_link):
    """The key never was away."""
    node, link = one_link
    src = derp.PrivateKey.generate()
    key = bytes(src.public_key)
    peer, receiver = mesh_peer(node), node.login()
    link.present(key)
    knows(node, 1)
    peer.forward(key, receiver.key, b"hello")
    receiver.recv_packet()
    here = node.login(private=src)
    knows(node, 0)
    link.gone(key)
    other = keys(1)
    link.present(*other)
    knows(node, 1)
    receiver.expect_silence()
    here.close()
    assert receiver.recv_peer_gone() == (key, derp.GONE_DISCONNECTED)
