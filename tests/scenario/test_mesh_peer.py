"""Mesh peers that dial us, made by hand: presence, forwarded packets, ClosePeer, and who may."""

import itertools
import os
import time

import pytest

import derp
from derp import Gone, Present
from mesh import MESH_KEY, OTHER_KEY, mesh_peer
from server import eventually


def present(client, flags=derp.REGULAR):
    return Present(client.key, client.conn.local_address, flags)


def flood(watcher, count):
    return sorted(watcher.recv_presence() for _ in range(count))


def settled(node, *clients):
    """A watcher that has read the flood of itself and these."""
    watcher = mesh_peer(node).watch()
    keys = {event.key for event in flood(watcher, 1 + len({c.key for c in clients}))}
    assert keys == {watcher.key} | {c.key for c in clients}
    return watcher


def not_ideal(node, **fields):
    conn = node.connect()
    conn.send(derp.upgrade_request(("Ideal-Node", "derp1b")))
    assert derp.read_response_head(conn).status == 101
    return derp.Client(conn).login(**fields)


# --- presence -------------------------------------------------------------------------------------


@pytest.mark.subset
def test_flood_names_everybody_once(node):
    """With address, port and flags; a twin by the address of its active connection."""
    regular, prober = node.login(), node.open().login(IsProber=True)
    elsewhere, both = not_ideal(node), not_ideal(node, IsProber=True)
    old = node.login()
    new = node.login(private=old.private)
    peer = mesh_peer(node)
    watcher = mesh_peer(node).watch()
    assert flood(watcher, 7) == sorted(
        [
            present(regular),
            present(prober, derp.PROBER),
            present(elsewhere, derp.NOT_IDEAL),
            present(both, derp.NOT_IDEAL | derp.PROBER),
            present(new),
            present(peer, derp.MESH_PEER),
            present(watcher, derp.MESH_PEER),
        ]
    )
    late = node.login()
    assert watcher.recv_presence() == present(late), "nobody was named twice"
    node.expect({"derp_watchers": 1, "derp_clients_local": 8, "derp_clients_remote": 0})


@pytest.mark.subset
def test_news(node):
    """Every login is told, and the end of a key's last connection."""
    watcher = settled(node)
    first = node.login()
    assert watcher.recv_presence() == present(first)
    second = node.login(private=first.private)
    assert watcher.recv_presence() == present(second)
    first.close()
    node.expect({"derp_current_connections": 2})
    third = node.login(private=first.private)
    assert watcher.recv_presence() == present(third), "an end that was not the last was told"
    third.close()
    second.close()
    assert watcher.recv_presence() == Gone(first.key, derp.GONE_DISCONNECTED)
    back = node.login(private=first.private)
    assert watcher.recv_presence() == present(back)


def test_watchers_hear_of_each_other(node):
    one = settled(node)
    past = node.login()
    assert one.recv_presence() == present(past)
    past.close()
    assert one.recv_presence() == Gone(past.key, derp.GONE_DISCONNECTED)
    two = mesh_peer(node)
    assert one.recv_presence() == present(two, derp.MESH_PEER)
    assert flood(two.watch(), 2) == sorted(present(c, derp.MESH_PEER) for c in (one, two))
    node.expect({"derp_watchers": 2})
    one.close()
    assert two.recv_presence() == Gone(one.key, derp.GONE_DISCONNECTED)
    node.expect({"derp_watchers": 1, "derp_clients_local": 1})


def test_watching_twice_is_harmless(node):
    client = node.login()
    watcher = settled(node, client)
    watcher.watch()
    watcher.sync()
    node.expect({"derp_watchers": 1})
    late = node.login()
    known = {client.key, watcher.key}  # who may be named again
    while (event := watcher.recv_presence()).key in known:
        assert isinstance(event, Present)
    assert event == present(late)
    late.close()
    assert watcher.recv_presence() == Gone(late.key, derp.GONE_DISCONNECTED)
    watcher.close()
    node.expect({"derp_watchers": 0, "derp_clients_local": 1})


def test_twins_of_a_watcher(node):
    """Both connections of one key watch, and each is told by itself."""
    one = settled(node)
    two = mesh_peer(node, private=one.private).watch()
    assert one.recv_presence() == present(two, derp.MESH_PEER)
    assert two.recv_presence() == present(two, derp.MESH_PEER)
    node.expect({"derp_watchers": 2})
    client = node.login()
    assert one.recv_presence() == two.recv_presence() == present(client)
    two.close()
    node.expect({"derp_watchers": 1})
    client.close()
    assert one.recv_presence() == Gone(client.key, derp.GONE_DISCONNECTED)


def test_this_very_server_is_no_watcher(node):
    """By its key it knows itself, when -mesh-with names it too."""
    itself = mesh_peer(node, private=node.private).watch()
    client = node.login()
    # Sluice may close it, which is as quiet.
    try:
        itself.expect_silence()
    except derp.Closed:
        pass
    node.expect({"derp_watchers": 0})
    node.expect_unharmed()
    client.close()


def test_hundreds_come_and_go(node):
    """A flood of many batches, with news in the midst of it: in the end the watcher knows what is
    true. Of a key that goes before the flood has reached it only its going may be told."""
    clients = [node.login("fast") for _ in range(1500)]
    watcher = node.open(rcvbuf=4096).login(meshKey=MESH_KEY)
    watcher.watch()
    for i, client in enumerate(clients[:]):
        if i % 2:
            client.close()
        elif i % 10 == 0:
            clients.append(node.login("fast", private=client.private))
            clients.append(node.login("fast"))
    here = {c.key for i, c in enumerate(clients) if i % 2 == 0 or i >= 1500} | {watcher.key}
    last = node.login("fast")
    known = set()
    while last.key not in known or known != here | {last.key}:
        event = watcher.recv_presence()
        if isinstance(event, Present):
            known.add(event.key)
        else:
            known.discard(event.key)
    node.expect({"derp_clients_local": len(known)})


# --- forwarded packets ----------------------------------------------------------------------------


@pytest.mark.subset
def test_forwarded_packets_arrive(node):
    """From their original sources, in order, and counted as what they are."""
    peer, sources = mesh_peer(node), [os.urandom(32) for _ in range(2)]
    receivers = [node.login(how) for how in ("fast", "websocket", "upgrade")]
    sizes = [0, 1, 62, 1400, 16384, 32768, 65536]
    for size in sizes:
        packet = os.urandom(size)
        for src, to in itertools.product(sources, receivers):
            peer.forward(src, to.key, packet)
        for src, to in itertools.product(sources, receivers):
            assert to.recv_packet() == (src, packet)
    count = len(sizes) * 6
    node.expect(
        {
            "derp_packets_forwarded_in": count,
            "derp_packets_forwarded_out": 0,
            "derp_packets_received": 0,
            "derp_bytes_received": 0,
            "derp_packets_sent": count,
            "derp_bytes_sent": sum(sizes) * 6,
            "derp_packets_dropped": 0,
        }
    )
    node.expect_reconciled()


@pytest.mark.ours
def test_flows_of_forwarded_packets(node):
    """Each stands by its original source, with the mesh peer that it came from."""
    peer, client = mesh_peer(node), node.login()
    one, two, nobody = (os.urandom(32) for _ in range(3))
    for src, dst, count in ((one, client.key, 3), (two, client.key, 2), (one, nobody, 1)):
        for _ in range(count):
            peer.forward(src, dst, bytes(100))
    client.send_packet(client.key, bytes(7))
    expected = {
        (one, client.key, peer.key): (3, 0),
        (two, client.key, peer.key): (2, 0),
        (one, nobody, peer.key): (1, 1),
        (client.key, client.key, None): (1, 0),
    }

    def check():
        page = node.flows()
        rows = {
            (row["src"], row["dst"], row["recv_from"]): (row["packets"], row["dropped_packets"])
            for row in page["flows"]
        }
        assert rows == {
            (derp.node_key(src), derp.node_key(dst), via and derp.node_key(via) or ""): counts
            for (src, dst, via), counts in expected.items()
        }
        assert not any(row["fwded_to"] or row["fwded_packets"] for row in page["flows"])
        totals = page["totals"]
        assert (totals["packets"], totals["bytes"]) == (7, 607)
        assert (totals["mesh_packets"], totals["mesh_bytes"]) == (6, 600)
        assert (totals["fwded_packets"], totals["fwded_bytes"]) == (0, 0)

    eventually(check)
    node.expect({"sluice_bytes_forwarded_in": 600, "derp_packets_received": 1})
    node.expect_reconciled()


@pytest.mark.ours
def test_flows_of_a_mesh_peer_outlive_it(node):
    """In the sums, as everybody's do."""
    peer, client = mesh_peer(node), node.login()
    for _ in range(5):
        peer.forward(os.urandom(32), client.key, bytes(100))
    for _ in range(5):
        client.recv_packet()
    peer.close()

    def check():
        page = node.flows()
        assert page["flows"] == []
        for part in ("other", "totals"):
            assert (page[part]["packets"], page[part]["bytes"]) == (5, 500)
        assert page["totals"]["mesh_packets"] == 5

    eventually(check)


def test_forwarded_to_nobody(node):
    """Dropped, and for disco the mesh peer is told: in bursts of three."""
    peer, src = mesh_peer(node), os.urandom(32)
    strangers = [os.urandom(32) for _ in range(10)]
    peer.forward(src, strangers[0], b"data")
    peer.forward(src, strangers[0], derp.disco()[:-1])
    start = time.monotonic()
    peer.send(b"".join(derp.forward_frame(src, s, derp.disco()) for s in strangers))
    told = {peer.recv_presence() for _ in range(3)}
    assert len(told) == 3 and told <= {Gone(s, derp.GONE_NOT_HERE) for s in strangers}
    node.expect(
        {
            'derp_packets_dropped{reason="unknown_dest_on_fwd",kind="other"}': 2,
            'derp_packets_dropped{reason="unknown_dest_on_fwd",kind="disco"}': 10,
            "derp_packets_dropped": 12,
            "derp_packets_forwarded_in": 12,
            "derp_packets_forwarded_out": 0,
        }
    )
    peer.sync()
    assert len(peer.waiting) <= time.monotonic() - start
    node.expect_reconciled()


def test_forwarded_from_a_local_key(node):
    """Odd, but a key may have just moved here."""
    peer, client, other = mesh_peer(node), node.login(), node.login()
    for src in (client, other):
        peer.forward(src.key, client.key, b"late")
        assert client.recv_packet() == (src.key, b"late")


def test_mesh_peers_can_be_talked_to(node):
    """They are clients as well."""
    peer, client = mesh_peer(node), node.login()
    client.send_packet(peer.key, b"hello")
    assert peer.recv_packet() == (client.key, b"hello")
    peer.send_packet(client.key, b"hello yourself")
    assert client.recv_packet() == (peer.key, b"hello yourself")
    peer.forward(client.key, peer.key, b"there and back")
    assert peer.recv_packet() == (client.key, b"there and back")


def test_end_of_a_forwarded_source(node):
    """Who heard of a key by the mesh is told when the key leaves from here."""
    peer, receiver, bystander = mesh_peer(node), node.login(), node.login()
    src = derp.PrivateKey.generate()
    peer.forward(bytes(src.public_key), receiver.key, b"hello")
    receiver.recv_packet()
    node.login(private=src).close()
    assert receiver.recv_peer_gone() == (bytes(src.public_key), derp.GONE_DISCONNECTED)
    bystander.expect_silence()


# --- ClosePeer ------------------------------------------------------------------------------------


@pytest.mark.subset
def test_close_peer(node):
    """All connections of that key end, and nobody else's."""
    peer, bystander, twin = mesh_peer(node), node.login(), node.login()
    twins = [twin, node.login(private=twin.private), node.login("websocket", private=twin.private)]
    peer.close_peer(os.urandom(32))
    peer.close_peer(twin.key)
    for client in twins:
        client.conn.read_to_end()
    node.expect({"derp_current_connections": 2, "derp_clients_local": 2})
    node.expect_closes(mesh_asked=3)
    peer.sync()
    bystander.sync()
    again = node.login(private=twin.private)
    again.sync()


def test_close_peer_of_mesh_peers(node):
    """Another one, and itself."""
    peer, other = mesh_peer(node), mesh_peer(node).watch()
    flood(other, 2)
    peer.close_peer(other.key)
    other.conn.read_to_end()
    node.expect({"derp_watchers": 0})
    peer.close_peer(peer.key)
    peer.conn.read_to_end()
    node.expect_closes(mesh_asked=2)
    node.expect_unharmed()


# --- who may, and how -----------------------------------------------------------------------------

PRIVILEGED = {
    "watch": derp.frame(derp.WATCH_CONNS),
    "forward": derp.forward_frame(bytes(32), bytes(32), b"forged"),
    "close": derp.frame(derp.CLOSE_PEER, bytes(32)),
}
STRANGERS = {"none": {}, "wrong": {"meshKey": OTHER_KEY}, "zero": {"meshKey": "0" * 64}}


@pytest.mark.subset
@pytest.mark.parametrize("stranger", STRANGERS)
def test_only_mesh_peers_may(node, stranger):
    """Whatever the order, the first of these frames ends the connection and has no effect."""
    victim = node.login()
    orders = list(itertools.permutations(PRIVILEGED)) + [(name,) for name in PRIVILEGED]
    for order in orders:
        client = node.open().login(**STRANGERS[stranger])
        client.send_packet(victim.key, b"an ordinary client")
        assert victim.recv_packet() == (client.key, b"an ordinary client")
        frames = [PRIVILEGED[name].replace(bytes(32), victim.key) for name in order]
        client.conn.offer(b"".join(frames))
        assert client.conn.read_to_end() == b""
        assert victim.recv_peer_gone() == (client.key, derp.GONE_DISCONNECTED)
    victim.expect_silence()
    node.expect({"derp_watchers": 0, "derp_packets_forwarded_in": 0, "derp_clients_local": 1})
    node.expect_closes(not_mesh_peer=len(orders))


@pytest.mark.parametrize("name", PRIVILEGED)
@pytest.mark.parametrize("meshkey", [MESH_KEY, "0" * 64])
def test_without_a_key_nobody_may(plain, name, meshkey):
    """A server that was given no mesh key has no mesh peers."""
    client = plain.open().login(meshKey=meshkey)
    client.send(PRIVILEGED[name])
    assert client.conn.read_to_end() == b""
    plain.expect_closes(not_mesh_peer=1)


def test_mesh_key_of_wrong_length(node):
    """It is malformed, so this isn't even a client."""
    for meshkey in (MESH_KEY[:-1], MESH_KEY[:-2], MESH_KEY + "0", MESH_KEY * 2, MESH_KEY[:2]):
        client = node.open().greet()
        client.send_client_info(derp.client_info_json(meshKey=meshkey))
        assert client.conn.read_to_end() == b""
    node.expect_closes(login_failed=5)


@pytest.mark.parametrize(
    "frame_type, length",
    [
        (derp.WATCH_CONNS, 1),
        (derp.WATCH_CONNS, 32),
        (derp.CLOSE_PEER, 0),
        (derp.CLOSE_PEER, 31),
        (derp.CLOSE_PEER, 33),
        (derp.FORWARD_PACKET, 0),
        (derp.FORWARD_PACKET, 32),
        (derp.FORWARD_PACKET, 63),
        (derp.FORWARD_PACKET, 64 + derp.MAX_PACKET + 1),
    ],
)
def test_bad_lengths(node, frame_type, length):
    victim, peer = node.login(), mesh_peer(node).watch()
    flood(peer, 2)
    peer.conn.offer(derp.frame(frame_type, (victim.key * (length // 32 + 1))[:length]))
    assert peer.conn.read_to_end() == b""
    victim.expect_silence()
    node.expect({"derp_watchers": 0, "derp_clients_local": 1})
    why = "packet_too_large" if length > 64 + derp.MAX_PACKET else "protocol_error"
    node.expect_closes(**{why: 1})


def test_cut_off_at_every_byte_of_a_mesh_frame(node):
    victim = node.login()
    frames = b"".join(PRIVILEGED.values()).replace(bytes(32), victim.key)
    whole = len(frames) - len(PRIVILEGED["close"])
    cuts = range(0, len(frames), 9)
    for cut in cuts:
        peer = mesh_peer(node)
        peer.send(frames[:cut])
        peer.close()
    node.expect({"derp_current_connections": 1, "derp_watchers": 0}, timeout=10)
    for _ in range(sum(cut >= whole for cut in cuts)):
        assert victim.recv_packet()[1] == b"forged"
    victim.sync()


# --- the pages ------------------------------------------------------------------------------------


@pytest.mark.ours
def test_mesh_peers_on_the_clients_page(node):
    peer, client, watcher = mesh_peer(node), node.login(), mesh_peer(node).watch()
    flood(watcher, 3)

    def check():
        rows = {row["key"]: row for row in node.clients()}
        flags = {
            key: (row["mesh_peer"], row["watcher"], row["via"], row["forwarders"])
            for key, row in rows.items()
        }
        assert flags == {
            derp.node_key(peer.key): (True, False, "", 0),
            derp.node_key(watcher.key): (True, True, "", 0),
            derp.node_key(client.key): (False, False, "", 0),
        }

    eventually(check)
    assert node.links() == []
