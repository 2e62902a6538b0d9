#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seeds of the login and HTTP targets into tests/fuzz/corpus/ (needs PyNaCl).

The files are committed; run this after a change of it. Other targets' seeds are their own.
"""
import pathlib

from nacl.bindings import crypto_box, crypto_scalarmult_base

ROOT = pathlib.Path(__file__).parent / "corpus"
# As in box.c.
SERVER, CLIENT = b"\x53" * 32, b"\x43" * 32
MESH = "0123456789abcdef" * 4

CLIENT_JSON = {
    "plain": '{"version":2,"CanAckPings":true}',
    "mesh": '{"meshKey":"%s","version":2,"CanAckPings":false,"IsProber":true}' % MESH,
    "app_name": '{"version":2,"CanAckPings":true,"IsProber":false,"AppName":"a \\"quoted\\" app"}',
    "variants": '{"MESHKEY":"","Version":2,"canackpings":true,"isprober":null,"APPNAME":"x"}',
    "unknown": '{"version":2,"Later":{"a":[1,2.5e3,null,"\\u00e9\\ud83d\\udd11"]},"More":[[],{}]}',
    "mesh_short": '{"meshKey":"0123","version":2}',
    "mesh_zero": '{"meshKey":"%s","version":-1}' % ("0" * 64),
    "types": '{"version":"2","CanAckPings":1,"IsProber":"","AppName":[]}',
    "big": '{"version":2147483648,"AppName":"%s"}' % ("n" * 33),
    "twice": '{"version":1,"version":2,"AppName":"one","AppName":"two"}',
    "deep": "[" * 200 + "]" * 200,
    "cut": '{"version":2,"CanAck',
    "empty": "",
}

SERVER_JSON = {
    "plain": '{"version":2}',
    "limits": '{"version":2,"TokenBucketBytesPerSecond":1000000,"TokenBucketBytesBurst":131072}',
    "no_version": "{}",
    "array": "[2]",
}

HTTP = {
    "derp": "GET /derp HTTP/1.1|Host: derp.example.com|User-Agent: Go-http-client/1.1"
    "|Connection: Upgrade|Upgrade: DERP||",
    "fast_start": "GET /derp HTTP/1.1|Host: derp1.example.com:443|Connection: Upgrade"
    "|Derp-Fast-Start: 1|Ideal-Node: 1b|Upgrade: DERP||\2\0\0\1\0payload",
    "websocket": "GET /derp HTTP/1.1|Host: derp.example.com|Connection: keep-alive, Upgrade"
    "|Upgrade: websocket|Origin: https://app.example.com|Sec-WebSocket-Version: 13"
    "|Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==|Sec-WebSocket-Protocol: chat, derp||",
    "probe": "HEAD /derp/probe HTTP/1.1|Host: [2001:db8::1]:8443|Accept: */*||",
    "generate_204": "GET /generate_204?t=1700000000 HTTP/1.1|Host: 192.0.2.1"
    "|X-Tailscale-Challenge: ts_192.0.2.1|Connection: close||",
    "query": "GET /debug/flows?limit=10&q=a%20b%2B+c&debugkey=&%61%20b=%zz HTTP/1.1"
    "|Host: localhost:3340|X-Forwarded-For: 203.0.113.9||",
    "query_cut": "GET /debug/flows?debugkey=x&q=a%2 HTTP/1.1|Host: localhost||",
    "http10": "GET / HTTP/1.0|Connection: keep-alive||",
    "absolute": "GET http://derp.example.com:80?x=1 HTTP/1.1|Host: other.example.com||",
    "connect": "CONNECT login.tailscale.com:443 HTTP/1.1|Host: login.tailscale.com:443||",
    "options": "|OPTIONS * HTTP/1.1|Host:||",
    "post": "POST /x HTTP/1.1|Host: a|Content-Length: 5|Content-Length: 5|Expect: 100-continue||hello",
    "chunked": "POST /x HTTP/1.1|Host: a|Transfer-Encoding: chunked||0||",
    "smuggle": "POST /x HTTP/1.1|Host: a|Content-Length: 4|Transfer-Encoding: chunked||0||",
    "fold": "GET / HTTP/1.1|Host: a|X-Long: one| two||",
    "h2": "PRI * HTTP/2.0||SM||",
    "tls": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "bare_lf": "GET / HTTP/1.1\nHost: a\n\n",
    "cut": "GET /derp HTTP/1.1|Host: derp.exam",
    "many": "GET / HTTP/1.1|Host: a|" + "".join(f"H{i}: {i}|" for i in range(64)) + "|",
    "long_line": "GET /" + "a" * 8200 + " HTTP/1.1|Host: a||",
    "long_head": "GET / HTTP/1.1|Host: a|X: " + "b" * 16400,
}


def write(target, name, data):
    folder = ROOT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def seal(text, nonce=b"\0" * 24):
    return nonce + crypto_box(text, nonce, crypto_scalarmult_base(SERVER), CLIENT)


def client_info(text):
    return crypto_scalarmult_base(CLIENT) + seal(text.encode())


def main():
    for name, text in CLIENT_JSON.items():
        write("client_info_json", name, text.encode())
    whole = client_info(CLIENT_JSON["mesh"])
    for name, data in {
        "whole": whole,
        "empty_json": client_info(""),
        "bad_json": client_info("{"),
        "no_box": whole[:56],
        "short": whole[:55],
        "cut": whole[:-1],
        "zero_key": bytes(32) + whole[32:],
        "small_order": b"\1" + bytes(31) + whole[32:],
    }.items():
        write("client_info", name, data)
    for name, text in SERVER_JSON.items():
        write("server_info", name, text.encode())
        write("server_info", name + "_sealed", seal(text.encode()))
    greeting = b"DERP\xf0\x9f\x94\x91" + crypto_scalarmult_base(SERVER)
    write("server_info", "greeting", greeting)
    write("server_info", "greeting_longer", greeting + b"room for more")
    for name, text in HTTP.items():
        write("http", name, text.replace("|", "\r\n").encode("latin-1"))


if __name__ == "__main__":
    main()
