"""DERP over WebSocket, as browsers speak it: one stream, cut into messages without meaning."""

import base64
import os

import pytest

import derp
from derp import WS_BINARY, WS_CLOSE, WS_CONTINUATION, WS_PING, WS_PONG, WS_TEXT

KEY = base64.b64encode(bytes(range(16))).decode()


ODD_HEADERS = {
    "none": (),
    "origin": (("Origin", "https://elsewhere.example"),),
    "compression": (("Sec-WebSocket-Extensions", "permessage-deflate"),),
}


@pytest.mark.parametrize("odd", ODD_HEADERS)
def test_upgrade(either, odd):
    conn = derp.open_websocket(either.connect(), *ODD_HEADERS[odd])
    derp.Client(conn).login()
    either.expect({"derp_websocket_accepts": 1, "derp_accepts": 1})


def test_among_other_subprotocols(plain):
    conn = plain.connect()
    conn.send(derp.websocket_request(KEY, protocol="chat, derp"))
    assert derp.read_response_head(conn).headers["sec-websocket-protocol"] == "derp"


BAD_HANDSHAKES = {
    "short key": derp.websocket_request("c2hvcnQ="),
    "key not in base64": derp.websocket_request("not base64 at all!!!!!!!"),
    "no key": derp.websocket_request(KEY).replace(b"Sec-WebSocket-Key", b"X-Key"),
    "other version": derp.websocket_request(KEY, version="8"),
    "no version": derp.websocket_request(KEY).replace(b"Sec-WebSocket-Version", b"X-Version"),
    "POST": derp.websocket_request(KEY).replace(b"GET", b"POST"),
    "no upgrade": derp.websocket_request(KEY).replace(b"keep-alive, Upgrade", b"keep-alive"),
}


@pytest.mark.parametrize("kind", BAD_HANDSHAKES)
def test_bad_handshake(plain, kind):
    conn = plain.connect()
    conn.send(BAD_HANDSHAKES[kind])
    assert 400 <= derp.read_response_head(conn).status < 500
    plain.expect({"derp_websocket_accepts": 0, "derp_accepts": 0})


@pytest.mark.subset
def test_with_a_native_peer(either):
    browser, native = either.login("websocket"), either.login("fast")
    for size in (0, 1, 125, 126, 1400, 32000, 32768, 65536):
        packet = os.urandom(size)
        native.send_packet(browser.key, packet)
        assert browser.recv_packet() == (native.key, packet)
        browser.send_packet(native.key, packet)
        assert native.recv_packet() == (browser.key, packet)
    either.expect({"derp_packets_received": 16, "derp_packets_sent": 16})


@pytest.mark.ours
def test_messages_sent_are_short_enough(plain):
    """The usual client library refuses messages over 32,768 bytes."""
    browser = plain.login("websocket")
    for _ in range(5):
        browser.send_packet(browser.key, bytes(derp.MAX_PACKET))
    for _ in range(5):
        browser.recv_packet()
    assert max(browser.conn.lengths) <= derp.WS_USUAL_LIMIT


@pytest.mark.ours
def test_longer_messages_are_accepted(plain):
    browser = plain.login("websocket")
    browser.conn.send_message(derp.send_packet_frame(browser.key, b"l" * derp.MAX_PACKET) * 3)
    for _ in range(3):
        assert browser.recv_packet() == (browser.key, b"l" * derp.MAX_PACKET)


def echo_check(browser, text):
    assert browser.recv_packet() == (browser.key, text)


def test_message_borders_mean_nothing(plain):
    browser = plain.login("websocket")
    frame = derp.send_packet_frame(browser.key, b"piecemeal")
    for byte in frame:
        browser.conn.send_message(bytes([byte]))
    echo_check(browser, b"piecemeal")
    browser.conn.send_message(b"")
    browser.conn.send_message(frame * 2 + frame[:10])
    browser.conn.send_message(frame[10:])
    for _ in range(3):
        echo_check(browser, b"piecemeal")


def test_fragments_with_control_frames_between(plain):
    browser = plain.login("websocket")
    frame = derp.send_packet_frame(browser.key, b"in three parts")
    browser.conn.send_message(frame[:3], fin=False)
    browser.conn.send_message(b"ping 1", WS_PING)
    browser.conn.fill()  # a server may answer the last of several pings only
    browser.conn.send_message(b"", WS_CONTINUATION, fin=False)
    browser.conn.send_message(b"unasked", WS_PONG)
    browser.conn.send_message(b"", WS_PING)
    browser.conn.send_message(frame[3:], WS_CONTINUATION)
    echo_check(browser, b"in three parts")
    assert browser.conn.controls == [(WS_PONG, b"ping 1"), (WS_PONG, b"")]


def test_handshake_and_first_frames_in_one_flight(plain):
    server_key = plain.login().server_key
    client = derp.Client(plain.connect())
    info = derp.frame(
        derp.CLIENT_INFO, derp.seal_client_info(client.private, server_key, derp.client_info_json())
    )
    packet = derp.send_packet_frame(client.key, b"at once")
    client.send(
        derp.websocket_request(KEY) + derp.ws_frame(info[:20]) + derp.ws_frame(info[20:] + packet)
    )
    assert derp.read_response_head(client.conn).status == 101
    client.conn = derp.WsConn(client.conn)
    client.greet()
    client.read_server_info()
    echo_check(client, b"at once")


def test_close_is_answered(either):
    """With the same status (RFC 6455, 5.5.1)."""
    browser = either.login("websocket")
    status = (1000).to_bytes(2, "big")
    browser.conn.send_message(status + b"bye", WS_CLOSE)
    browser.conn.read_to_end()
    opcode, payload = browser.conn.controls[-1]
    assert (opcode, payload[:2]) == (WS_CLOSE, status)
    either.expect({"derp_current_connections": 0})
    either.expect_closes(client_closed=1)


def message(payload, opcode=WS_BINARY, **how):
    return lambda conn: conn.send_message(payload, opcode, **how)


FAULTS = {
    "text": message(b"hello", WS_TEXT),
    "not masked": message(b"\x12\0\0\0\x08pingping", mask=False),
    "reserved bit": message(b"", rsv=4),
    "reserved data opcode": message(b"", 3),
    "reserved control opcode": message(b"", 0xB),
    "continues nothing": message(b"x", WS_CONTINUATION),
    "long control frame": message(bytes(126), WS_PING),
    "fragmented control frame": message(b"", WS_PING, fin=False),
    "close of one byte": lambda conn: conn.conn.send(derp.ws_frame(b"\x03", WS_CLOSE)),
    "endless length": lambda conn: conn.conn.send(b"\x82\xff" + b"\xff" * 8 + bytes(4)),
}


@pytest.mark.subset
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_close(either, fault):
    browser = either.login("websocket")
    FAULTS[fault](browser.conn)
    browser.conn.read_to_end()
    either.expect({"derp_current_connections": 0})
    either.expect_closes(ws_error=1)
    either.expect_unharmed()


@pytest.mark.ours
def test_server_does_not_wait_for_the_answer_to_its_close(plain):
    browser = plain.login("websocket")
    browser.conn.send_message(b"hello", WS_TEXT)
    browser.conn.conn.read_to_end(timeout=3 * derp.SCALE)
    plain.expect_closes(ws_error=1)


def test_fault_before_login(plain):
    browser = plain.open("websocket")
    browser.conn.send_message(b"hello", WS_TEXT)
    browser.conn.read_to_end()
    plain.expect({"derp_accepts": 1, "derp_current_connections": 0})
    plain.expect_closes(ws_error=1)


def test_derp_fault_inside_websocket(plain):
    browser = plain.login("websocket")
    browser.send_frame(derp.NOTE_PREFERRED, b"")
    browser.conn.read_to_end()
    plain.expect_closes(protocol_error=1)
