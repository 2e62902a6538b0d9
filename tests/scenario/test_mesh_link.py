"""Links that a node dials, to nodes made by hand: login, forwarding, certificates, and the end."""

import os
import time

import pytest

import derp
from mesh import MESH_KEY, both_reach, certificate, flow_of, keys, knows, mesh_peer, psk_file
from server import LOOPBACK, eventually, free_port

RETRY = 5  # seconds between attempts


# --- login ----------------------------------------------------------------------------------------


@pytest.mark.subset
def test_login(one_link):
    """The node says who it is, proves that it belongs here, and watches."""
    node, link = one_link
    assert link.info["meshKey"] == MESH_KEY
    assert link.info["version"] == 2
    assert link.peer == node.key == node.login().server_key
    head = link.request.lower()
    assert b"\r\nhost: " + link.node.host.encode() + b"\r\n" in head
    assert b"\r\nupgrade: derp\r\n" in head
    node.expect({"derp_watchers": 0, "derp_clients_remote": 0})


@pytest.mark.ours
def test_page(one_link):
    node, link = one_link
    link.present(*keys(7))
    fake = link.node

    def check():
        (row,) = node.links()
        assert row["host"] in (LOOPBACK, fake.host)
        assert row["address"] == fake.host
        assert row["server"] == derp.node_key(fake.key)
        assert (row["state"], row["peers"]) == ("up", 7)
        assert (row["dials"], row["logins"]) == (1, 1)
        assert row["error"] == ""
        assert row["tx_packets"] == row["rx_packets"] == 0

    eventually(check)
    assert node.get("/debug/mesh").status == 200
    assert derp.short_key(fake.key) in node.get("/debug/mesh").text


@pytest.mark.ours
def test_page_without_links(plain):
    assert plain.links() == []


@pytest.mark.ours
def test_round_trips_are_measured(one_link):
    node, link = one_link

    def check():
        with pytest.raises(TimeoutError):
            link.recv(0.01)  # answers pings
        rtt = node.links()[0]["rtt_ms"]
        assert rtt is not None and 0 < rtt < 1000 * derp.SCALE

    eventually(check, timeout=10)


# --- forwarding -----------------------------------------------------------------------------------


@pytest.mark.subset
def test_packets_to_keys_elsewhere(one_link):
    """They leave as ForwardPacket, each size and in order."""
    node, link = one_link
    a, b = keys(2)
    link.present(a, b)
    knows(node, 2)
    client = node.login()
    sizes = [0, 1, 62, 1400, 16384, 32768, 65536]
    for size in sizes:
        packet = os.urandom(size)
        for dst in (a, b):
            client.send_packet(dst, packet)
            assert link.recv_forward() == (client.key, dst, packet)
    count = 2 * len(sizes)
    node.expect(
        {
            "derp_packets_received": count,
            "derp_packets_forwarded_out": count,
            "derp_packets_forwarded_in": 0,
            "derp_packets_sent": 0,
            "derp_packets_dropped": 0,
        }
    )
    node.expect_reconciled()


def test_order_of_many(one_link):
    """From several clients, with disco in between that may go ahead of data."""
    node, link = one_link
    (dst,) = keys(1)
    link.present(dst)
    knows(node, 1)
    clients = [node.login("fast") for _ in range(4)]
    sent = {client.key: [] for client in clients}
    for number in range(28):
        for client in clients:
            packet = number.to_bytes(4, "big") * 20
            client.send_packet(dst, packet)
            sent[client.key].append(packet)
    for client in clients:
        client.send_packet(dst, derp.disco(client.key))
    got = {client.key: [] for client in clients}
    disco = set()
    for _ in range(29 * 4):
        src, to, packet = link.recv_forward()
        assert to == dst
        if packet.startswith(derp.DISCO_MAGIC):
            assert packet == derp.disco(src)
            disco.add(src)
        else:
            got[src].append(packet)
    assert got == sent
    assert disco == set(sent)


@pytest.mark.ours
def test_flows_of_packets_to_elsewhere(one_link):
    node, link = one_link
    remote, stranger = keys(2)
    link.present(remote)
    knows(node, 1)
    client = node.login()
    for _ in range(5):
        client.send_packet(remote, bytes(100))
        link.recv_forward()
    client.send_packet(remote, derp.disco())
    client.send_packet(stranger, bytes(10))

    def check():
        row = flow_of(node, dst=derp.node_key(remote))
        assert row["src"] == derp.node_key(client.key)
        assert (row["recv_from"], row["fwded_to"]) == ("", derp.node_key(link.node.key))
        volume = 500 + derp.DISCO_MIN
        assert (row["packets"], row["bytes"]) == (6, volume)
        assert (row["fwded_packets"], row["fwded_bytes"]) == (6, volume)
        assert row["dropped_packets"] == 0
        assert flow_of(node, dst=derp.node_key(stranger))["fwded_to"] == ""
        totals = node.flows()["totals"]
        assert (totals["fwded_packets"], totals["fwded_bytes"]) == (6, volume)
        assert (totals["mesh_packets"], totals["packets"]) == (0, 7)
        (row,) = node.links()
        assert (row["tx_packets"], row["tx_bytes"]) == (6, volume)

    eventually(check)
    node.expect({"sluice_bytes_forwarded_out": 500 + derp.DISCO_MIN})
    rows = {row["key"]: row for row in node.clients()}
    row = rows[derp.node_key(remote)]
    assert (row["connected"], row["forwarders"]) == (False, 1)
    assert row["via"] == derp.node_key(link.node.key)
    node.expect_reconciled()


@pytest.mark.ours
def test_what_a_link_has_brought(one_link):
    """Packets that come by a mesh peer with the key of the link's server count for that link."""
    node, link = one_link
    client, peer = node.login(), mesh_peer(node, private=link.node.private)
    (src,) = keys(1)
    for _ in range(3):
        peer.forward(src, client.key, bytes(50))
        client.recv_packet()

    def check():
        (row,) = node.links()
        assert (row["rx_packets"], row["rx_bytes"]) == (3, 150)
        assert flow_of(node, src=derp.node_key(src))["recv_from"] == derp.node_key(peer.key)

    eventually(check)


@pytest.mark.subset
def test_who_is_here_is_not_elsewhere(one_link):
    """A key that is connected to this node gets its packets here, whatever links say."""
    node, link = one_link
    client, moving = node.login(), derp.PrivateKey.generate()
    key = bytes(moving.public_key)
    link.present(key)
    knows(node, 1)
    here = node.login(private=moving)
    knows(node, 0)
    client.send_packet(key, b"here")
    assert here.recv_packet() == (client.key, b"here")
    link.present(key)  # news of what is known
    client.send_packet(key, b"still here")
    assert here.recv_packet() == (client.key, b"still here")
    here.close()
    knows(node, 1)
    client.send_packet(key, b"elsewhere")
    assert link.recv_forward() == (client.key, key, b"elsewhere")
    client.expect_silence("the key has not left the region")


def test_never_forwarded_again(one_link):
    """What one node forwards to us goes to nobody else, even if we know where the key is."""
    node, link = one_link
    (remote,) = keys(1)
    link.present(remote)
    knows(node, 1)
    peer, client = mesh_peer(node), node.login()
    peer.forward(client.key, remote, derp.disco())
    assert peer.recv_presence() == derp.Gone(remote, derp.GONE_NOT_HERE)
    client.send_packet(remote, b"first to arrive")
    assert link.recv_forward() == (client.key, remote, b"first to arrive")
    node.expect(
        {
            "derp_packets_forwarded_in": 1,
            "derp_packets_forwarded_out": 1,
            'derp_packets_dropped{reason="unknown_dest_on_fwd"}': 1,
        }
    )
    node.expect_reconciled()


# --- the end of a link ----------------------------------------------------------------------------


@pytest.mark.subset
@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_broken_link(two_links, end):
    """All that it reached is forgotten, and who knew of it is told; then it is dialled again."""
    node, broken, other = two_links
    mine, both = keys(50), keys(5)
    peer, receiver, bystander = mesh_peer(node), node.login(), node.login()
    broken.present(*mine, *both)
    knows(node, 55)
    other.present(*both)
    node.expect({"derp_multiforwarder_created": 5})
    for src in (*mine[:3], *both[:3]):
        peer.forward(src, receiver.key, b"hello")
        receiver.recv_packet()
    ended = time.monotonic()
    getattr(broken.conn, end)()
    knows(node, 5)
    gone = {receiver.recv_peer_gone() for _ in range(3)}
    assert gone == {(src, derp.GONE_DISCONNECTED) for src in mine[:3]}
    bystander.send_packet(both[0], b"by the other way")
    assert other.recv_forward() == (bystander.key, both[0], b"by the other way")
    bystander.send_packet(mine[0], derp.disco())
    assert bystander.recv_peer_gone() == (mine[0], derp.GONE_NOT_HERE)
    node.expect({"derp_multiforwarder_deleted": 5})
    if end == "reset":
        return  # once is enough to wait for it

    back = broken.node.accept(timeout=(RETRY + 3) * derp.SCALE)
    assert RETRY - 1 <= time.monotonic() - ended
    back.log_in().present(*mine[:10])
    knows(node, 15)
    bystander.send_packet(mine[0], b"back again")
    assert back.recv_forward() == (bystander.key, mine[0], b"back again")
    receiver.expect_silence()


@pytest.mark.slow
@pytest.mark.ours
def test_another_server_behind_the_same_host(one_link):
    """A link whose server comes back with another key is a link still."""
    node, link = one_link
    link.present(*keys(3))
    knows(node, 3)
    link.close()
    fake = link.node
    fake.private = derp.PrivateKey.generate()
    back = fake.accept(timeout=(RETRY + 3) * derp.SCALE).log_in()
    (remote,) = keys(1)
    back.present(remote)
    knows(node, 1)
    client = node.login()
    client.send_packet(remote, b"hello")
    assert back.recv_forward() == (client.key, remote, b"hello")

    def check():
        (row,) = node.links()
        assert (row["server"], row["state"]) == (derp.node_key(fake.key), "up")
        assert (row["dials"], row["logins"]) == (2, 2)
        assert flow_of(node, dst=derp.node_key(remote))["fwded_to"] == derp.node_key(fake.key)

    eventually(check)


def test_two_links_to_one_server(dialling, fakes):
    """Two names for the same node: it is reached, and reached still when one of them breaks."""
    one, two = fakes(), fakes()
    two.private = one.private
    node = dialling(one, two)
    links = one.up(), two.up()
    (remote,) = keys(1)
    client = node.login()
    both_reach(node, *links, remote)
    client.send_packet(remote, b"hello")
    assert links[0].recv_forward()[2] == b"hello"
    links[0].close()
    node.expect({"derp_multiforwarder_deleted": 1})
    client.send_packet(remote, b"hello again")
    assert links[1].recv_forward()[2] == b"hello again"


def test_another_name_for_itself(dialling, fakes):
    """A server that answers with this node's own key is this node."""
    fake = fakes()
    node = dialling(fake)
    fake.private = node.private
    link = fake.accept().handshake().read_request().answer_upgrade().greet()
    if node.derper:
        return
    link.read_to_close()

    def check():
        (row,) = node.links()
        assert (row["state"], row["error"]) == ("this very server", "")

    eventually(check)
    knows(node, 0)


@pytest.mark.ours
def test_itself_in_its_own_list(serve, tmp_path):
    """With nothing but the certificate that it made for itself."""
    port = free_port()
    node = serve(port=port, mesh_psk_file=psk_file(tmp_path), mesh_with=f"127.0.0.1:{port}")

    def check():
        (row,) = node.links()
        assert (row["state"], row["error"], row["dials"]) == ("this very server", "", 1)

    eventually(check)


@pytest.mark.ours
@pytest.mark.subset
@pytest.mark.parametrize(
    "name, dialled, address, certified",
    [
        ("[::1]", "", "::1", "IP:::1"),
        ("localhost", "", LOOPBACK, "DNS:localhost"),
        ("relay.test", f"/{LOOPBACK}", LOOPBACK, "DNS:relay.test"),
        ("relay.test", "/::1", "::1", "DNS:relay.test"),
        ("relay.test", "/localhost", LOOPBACK, "DNS:relay.test"),
    ],
)
def test_ways_to_say_where(dialling, fakes, tmp_path, name, dialled, address, certified):
    """By address, by name, and with another address than the name's; the certificate is the
    name's."""
    cert = certificate(tmp_path / "named", certified)
    fake = fakes(cert, name=name, address=address)
    node = dialling(fake, dialled=dialled, mesh_ca=cert.crt)
    link = fake.up()
    assert b"\r\nhost: " + fake.host.encode() + b"\r\n" in link.request.lower()
    link.present(*keys(2))
    knows(node, 2)


# --- certificates ---------------------------------------------------------------------------------


def refused(node, fake, *words):
    """The link isn't made, and /debug/mesh says why, in one of these words at least."""
    link = fake.accept()
    with pytest.raises((derp.Closed, OSError)):
        link.handshake().read_request()
    if node.derper:
        return

    def check():
        (row,) = node.links()
        assert any(word in row["error"].lower() for word in words), row["error"]
        assert row["state"] != "up"
        assert (row["dials"], row["logins"]) == (1, 0)

    eventually(check)


def test_unknown_certificate(dialling, fakes, tmp_path):
    fake = fakes(certificate(tmp_path / "unknown"))
    refused(dialling(fake), fake, "certificate")


@pytest.mark.ours
def test_certificate_for_somebody_else(dialling, fakes, tmp_path):
    other = certificate(tmp_path / "other", "IP:127.0.0.9")
    fake = fakes(other)
    refused(dialling(fake, mesh_ca=other.crt), fake, "mismatch", "127.0.0.1", "name")


@pytest.mark.ours
def test_expired_certificate(dialling, fakes, tmp_path):
    expired = certificate(tmp_path / "expired", expired=True)
    fake = fakes(expired)
    refused(dialling(fake, mesh_ca=expired.crt), fake, "expired")


@pytest.mark.ours
def test_private_ca(dialling, fakes, tmp_path):
    ca = certificate(tmp_path / "ca", "DNS:ca.test")
    fake = fakes(certificate(tmp_path / "leaf", ca=ca))
    node = dialling(fake, mesh_ca=ca.crt)
    fake.up().present(*keys(2))
    knows(node, 2)


@pytest.mark.ours
def test_without_mesh_ca(dialling, fakes, tmp_path):
    """The system's roots decide, and these know no such certificate."""
    fake = fakes(certificate(tmp_path / "unknown"))
    refused(dialling(fake, mesh_ca=None), fake, "certificate")


@pytest.mark.ours
def test_pin(dialling, fakes, tmp_path):
    """Just that certificate, whoever has signed it and whatever its name."""
    odd = certificate(tmp_path / "odd", "DNS:elsewhere.test")
    fake = fakes(odd)
    node = dialling(fake, mesh_ca=None, mesh_pin=f"{fake.host}={odd.pin}")
    fake.up().present(*keys(2))
    knows(node, 2)


@pytest.mark.ours
def test_wrong_pin(dialling, fakes, tmp_path):
    """A certificate that would do otherwise doesn't when another one is pinned."""
    fake = fakes()
    other = certificate(tmp_path / "other")
    refused(dialling(fake, mesh_pin=f"{fake.host}={other.pin}"), fake, "pin", "certificate")
