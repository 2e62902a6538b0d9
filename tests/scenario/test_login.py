"""From the first byte to ServerInfo, as every kind of client does it."""

import pytest
from nacl.public import PrivateKey

import derp

WAYS = ["upgrade", "fast", "old", "websocket"]


@pytest.mark.subset
@pytest.mark.parametrize("how", WAYS)
def test_every_way_in(either, how):
    client = either.login(how)
    client.send_packet(client.key, b"to myself")
    assert client.recv_packet() == (client.key, b"to myself")
    either.expect(
        {
            "derp_accepts": 1,
            "derp_current_connections": 1,
            "derp_clients_local": 1,
            "derp_clients_total": 1,
            "derp_websocket_accepts": how == "websocket",
        }
    )
    client.close()
    either.expect({"derp_accepts": 1, "derp_current_connections": 0, "derp_clients_local": 0})
    either.expect_closes(client_closed=1)


def test_upgrade_answer(plain):
    conn = plain.connect()
    conn.send(derp.upgrade_request())
    answer = derp.read_response_head(conn)
    client = derp.Client(conn).greet()
    assert answer.head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert answer.headers == {
        "upgrade": "DERP",
        "connection": "Upgrade",
        "derp-version": "2",
        "derp-public-key": client.server_key.hex(),
    }


@pytest.mark.parametrize("request_line", [b"upgrade: derp", b"Upgrade: Derp", b"UPGRADE:DERP"])
def test_upgrade_header_is_compared_without_case(plain, request_line):
    conn = plain.connect()
    conn.send(derp.http_request("GET", "/derp", [("Connection", "upgrade"), request_line]))
    assert derp.read_response_head(conn).status == 101
    derp.Client(conn).login()


def test_everything_in_one_flight(either):
    """A client that has seen the meta certificate knows the server's key and sends request,
    ClientInfo and packets at once, without waiting for any answer."""
    server_key = either.login().server_key
    private = PrivateKey.generate()
    client = derp.Client(either.connect(), private)
    info = derp.seal_client_info(private, server_key, derp.client_info_json())
    packets = [b"packet %d" % i for i in range(20)]
    client.send(
        derp.upgrade_request(derp.FAST_START)
        + derp.frame(derp.CLIENT_INFO, info)
        + b"".join(derp.send_packet_frame(client.key, p) for p in packets)
    )
    client.greet()
    client.read_server_info()
    assert [client.recv_packet()[1] for _ in packets] == packets


def test_packets_behind_client_info_without_waiting(either):
    client = either.open()
    client.greet()
    client.send_client_info()
    client.send_packet(client.key, b"early")
    client.read_server_info()
    assert client.recv_packet() == (client.key, b"early")


def test_client_info_a_byte_at_a_time(plain):
    client = plain.open("fast").greet()
    info = derp.seal_client_info(client.private, client.server_key, derp.client_info_json())
    for byte in derp.frame(derp.CLIENT_INFO, info):
        client.send(bytes([byte]))
    client.read_server_info()


def test_server_info_offers_no_token_bucket(plain):
    """Clients silently drop what exceeds it: a server that doesn't mean that must not name one."""
    client = plain.open().greet()
    client.send_client_info()
    info = client.read_server_info()
    assert info["version"] == 2
    assert not info.get("TokenBucketBytesPerSecond")
    assert not info.get("TokenBucketBytesBurst")


def test_same_server_key_each_time_and_after_restart(serve):
    first = serve(tls=False)
    keys = {first.login(how).server_key for how in WAYS}
    first.stop()
    again = serve(tls=False, c=first.directory / "server.key")
    keys.add(again.login().server_key)
    assert len(keys) == 1


@pytest.mark.parametrize(
    "plaintext",
    [
        b"{}",
        b'{"version":2}',
        b'{"meshKey":"%s","version":2}' % (b"ab" * 32),  # not the server's: an ordinary client
        b'{"meshKey":"%s","version":2}' % (b"00" * 32),  # never matches, not even "no mesh key"
        b'{"version":2,"CanAckPings":true,"IsProber":true,"AppName":"tests"}',
        b'{"version":2,"newField":{"deep":[1,2,{"a":null}]}}',
    ],
)
def test_client_info_accepted(plain, plaintext):
    client = plain.open().greet()
    client.send_client_info(plaintext)
    client.read_server_info()
    # Whatever mesh key it showed, this server has none: no privileges.
    client.send_frame(derp.WATCH_CONNS)
    client.conn.read_to_end()
    plain.expect_closes(not_mesh_peer=1)


def test_largest_client_info(plain):
    """White space fills the JSON up so that the frame is just as large as allowed."""
    overhead = len(derp.seal_client_info(PrivateKey.generate(), bytes(range(32)), b""))
    client = plain.open().greet()
    client.send_client_info(derp.client_info_json().ljust(derp.MAX_CLIENT_INFO - overhead))
    client.read_server_info()
    plain.expect({"derp_accepts": 1, "derp_current_connections": 1})


def test_not_ideal_node_is_counted(plain):
    conn = plain.connect()
    conn.send(derp.upgrade_request(("Ideal-Node", "1a")))
    derp.read_response_head(conn)
    client = derp.Client(conn).login()
    plain.login()
    plain.expect({"derp_current_notideal_connections": 1, "derp_current_connections": 2})
    client.close()
    plain.expect({"derp_current_notideal_connections": 0, "derp_current_connections": 1})


def test_ipv6(serve):
    server = serve(host="::1")
    assert server.login().conn.sock.getpeername()[0] == "::1"
    server.expect({"derp_accepts": 1})
