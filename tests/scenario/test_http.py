"""The web pages, and HTTP itself: keep-alive, pipelining, closing, what is refused."""

import re

import pytest

import derp
from server import LOOPBACK, free_port

BROWSER_HEADERS = {
    "strict-transport-security": "max-age=63072000; includeSubDomains",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
}
NO_CACHE = "no-cache, no-store, must-revalidate, no-transform, max-age=0"


def exchange(server, request):
    """Send something and take in all that comes until the server closes; then close as well, for
    which it may wait."""
    conn = server.connect()
    conn.offer(request)
    answers = conn.read_to_end()
    conn.close()
    return answers


def statuses(answers):
    """The status of each answer in a stream of them."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", answers)]


# --- pages ----------------------------------------------------------------------------------------


@pytest.mark.subset
@pytest.mark.parametrize("path", ["/", "/index.html", "/no/such/page", "/derper", "/?query=1"])
def test_home_page_is_everywhere(either, path):
    page = either.get(path)
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert BROWSER_HEADERS.items() <= page.headers.items()
    assert "relay" in page.text.lower()


def test_robots(plain):
    page = plain.get("/robots.txt")
    assert page.status == 200
    assert page.text == "User-agent: *\nDisallow: /\n"
    assert BROWSER_HEADERS.items() <= page.headers.items()


@pytest.mark.parametrize("path", ["/derp/probe", "/derp/latency-check", "/derp/probe?x=1"])
def test_probe(either, path):
    for method in ("GET", "HEAD"):
        page = either.get(path, method)
        assert (page.status, page.body) == (200, b"")
        assert page.headers["access-control-allow-origin"] == "*"
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert either.get(path, method).status == 405


def test_generate_204(either):
    for path in ("/generate_204", "/generate_204?t=1700000000"):
        page = either.get(path)
        assert (page.status, page.body) == (204, b"")
        assert page.headers["cache-control"] == NO_CACHE
        assert "x-tailscale-response" not in page.headers


@pytest.mark.parametrize(
    "challenge, echoed",
    [
        ("ts_abc-DEF.123:9", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("a b", False),
        ("<script>", False),
    ],
)
def test_challenge(plain, challenge, echoed):
    answer = plain.get("/generate_204", X_Tailscale_Challenge=challenge).headers.get(
        "x-tailscale-response"
    )
    assert answer == (f"response {challenge}" if echoed else None)


@pytest.mark.parametrize("headers", [{}, {"Upgrade": "h2c", "Connection": "Upgrade"}])
def test_derp_wants_an_upgrade(either, headers):
    assert either.get("/derp", **headers).status == 426


def test_derp_switched_off(serve):
    server = serve(tls=False, derp="false")
    conn = server.connect()
    conn.send(derp.upgrade_request())
    assert derp.read_response_head(conn).status == 404
    assert server.get("/generate_204").status == 204


def test_other_homes(serve):
    blank = serve(tls=False, home="blank").get("/")
    assert (blank.status, blank.body) == (200, b"")
    elsewhere = serve(tls=False, home="https://example.com/relay").get("/")
    assert (elsewhere.status, elsewhere.headers["location"]) == (302, "https://example.com/relay")


def test_debug_index_links_the_pages(plain):
    page = plain.get("/debug/")
    assert page.status == 200
    assert "varz" in page.text


@pytest.mark.ours
def test_our_debug_pages(plain):
    client = plain.login()
    index = plain.get("/debug/").text
    for name in ("flows", "clients"):
        assert name in index
        page = plain.get(f"/debug/{name}")
        assert page.status == 200
        assert page.headers["content-type"].startswith("text/")
    assert derp.short_key(client.key) in page.text or derp.node_key(client.key) in page.text


def test_varz(plain):
    page = plain.get("/debug/varz")
    assert page.headers["content-type"].startswith("text/plain")
    metrics = plain.metrics()
    assert metrics.sum("process_resident_memory_bytes") > 1e6
    assert metrics.sum("derp_current_file_descriptors") > 3
    assert metrics.sum("uptime_sec") >= 0
    assert metrics.sum("process_start_unix_time") > 1.7e9
    assert metrics.sum("version") == 1
    names = [(name, tuple(labels.items())) for name, labels, _ in metrics.samples]
    assert len(names) == len(set(names)), "a sample is there twice"


# --- the plain port beside TLS --------------------------------------------------------------------


@pytest.fixture
def port_80(serve):
    """A function that asks the plain port for a page and returns the answer's head."""
    port = free_port()
    serve(http_port=port)

    def ask(request):
        conn = derp.Conn(derp.dial((LOOPBACK, port)))
        conn.send(request)
        answer = derp.read_response_head(conn)
        conn.close()
        return answer

    return ask


def test_plain_port_redirects(port_80):
    for method in (b"GET", b"HEAD"):
        answer = port_80(method + b" /some/page?x=1 HTTP/1.1\r\nHost: derp.example.com\r\n\r\n")
        expect_redirect(answer, "/some/page?x=1")
    expect_redirect(port_80(b"GET / HTTP/1.1\r\nHost: derp.example.com\r\n\r\n"), "/debug/")
    assert port_80(derp.http_request("POST", "/")).status == 400


def expect_redirect(answer, path):
    """To the same host; derper leaves away the port, which is right for 443 alone."""
    assert answer.status == 302
    port = r"(:\d+)?"
    assert re.fullmatch(
        f"https://derp.example.com{port}{re.escape(path)}", answer.headers["location"]
    )


def test_plain_port_serves_captive_portal_checks_and_debug(port_80):
    answer = port_80(derp.http_request("GET", "/generate_204", [("X-Tailscale-Challenge", "abc")]))
    assert (answer.status, answer.headers["x-tailscale-response"]) == (204, "response abc")
    assert port_80(derp.http_request("GET", "/debug/varz")).status == 200


def test_plain_port_has_no_derp(port_80):
    assert port_80(derp.upgrade_request()).status == 302


# --- connections ----------------------------------------------------------------------------------


def test_keep_alive_and_pipelining(either):
    conn = either.connect()
    conn.send(
        derp.http_request("GET", "/derp/probe") + derp.http_request("GET", "/generate_204") * 3
    )
    assert [derp.read_response_head(conn).status for _ in range(4)] == [200, 204, 204, 204]
    for byte in derp.http_request("HEAD", "/"):
        conn.send(bytes([byte]))
    assert derp.read_response_head(conn).status == 200
    conn.send(derp.upgrade_request())
    assert derp.read_response_head(conn).status == 101
    derp.Client(conn).login().close()
    either.expect_closes(client_closed=1)


@pytest.mark.subset
def test_ordinary_ends(either):
    close = exchange(either, derp.http_request("GET", "/generate_204", [("Connection", "close")]))
    assert statuses(close) == [204]
    old = exchange(either, b"GET /generate_204 HTTP/1.0\r\n\r\n")
    assert statuses(old) == [204]
    three = derp.http_request("GET", "/") * 2
    three += derp.http_request("GET", "/", [("Connection", "close")])
    assert statuses(exchange(either, three)) == [200, 200, 200]
    either.expect_closes(http_done=3)


def test_absolute_form(plain):
    url = "http://127.0.0.1/generate_204"
    request = derp.http_request("GET", url, [("Connection", "close")])
    assert statuses(exchange(plain, request)) == [204]


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_request_in_a_body_is_not_answered(plain, framing):
    """Whether the server skips the body or closes, the body is not the next request."""
    inner = derp.http_request("GET", "/generate_204")
    if framing == "length":
        headers, body = [("Content-Length", str(len(inner)))], inner
    else:
        headers, body = (
            [("Transfer-Encoding", "chunked")],
            b"%x\r\n%s\r\n0\r\n\r\n" % (len(inner), inner),
        )
    outer = derp.http_request("POST", "/derp/probe", headers, body)
    last = derp.http_request("GET", "/robots.txt", [("Connection", "close")])
    assert 204 not in statuses(exchange(plain, outer + last))


# --- what is refused ------------------------------------------------------------------------------


def broken_headers():
    """The upgrade request with one header broken at a time, each in every way."""
    head = derp.upgrade_request(derp.FAST_START)[:-4].split(b"\r\n")
    for i, line in enumerate(head[1:], 1):
        name, _, value = line.partition(b": ")
        for broken in (
            name + b" : " + value,
            name,
            b": " + value,
            b" " + line if i == 1 else name + b"\0: " + value,
            name[:2] + b" " + name[2:] + b": " + value,
            name + b": " + value + b"\0",
            name + b": \x01" + value,
            b"(" + name + b"): " + value,
        ):
            yield b"\r\n".join([*head[:i], broken, *head[i + 1 :]]) + b"\r\n\r\n"


BROKEN_LINES = [
    b"rubbish",
    b"GET",
    b"GET /",
    b" GET / HTTP/1.1",
    b"GET / HTTP/1.1 more",
    b"GET / HTTP/x.y",
    b"GET / HTTQ/1.1",
    b"GET / http/1.1",
    b"G(T / HTTP/1.1",
    b"\x00\x01\x02\x03",
    b"\xff\xfe / HTTP/1.1",
    b"GET /\x00 HTTP/1.1",
]
BROKEN_BODIES = [
    b"Content-Length: many",
    b"Content-Length: -1",
    b"Content-Length: 1\r\nContent-Length: 2",
    b"Content-Length: 99999999999999999999",
    b"Transfer-Encoding: rot13",
]
NO_SINGLE_HOST = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
]
BROKEN = {
    "headers": list(broken_headers()),
    "lines": [line + b"\r\nHost: a\r\n\r\n" for line in BROKEN_LINES],
    "bodies": [derp.http_request("POST", "/", [header]) for header in BROKEN_BODIES],
    "hosts": NO_SINGLE_HOST,
}


@pytest.mark.subset
@pytest.mark.parametrize("group", BROKEN)
def test_broken_requests(plain, group):
    for request in BROKEN[group]:
        answer = exchange(plain, request)
        assert 400 <= statuses(answer)[0] < 600, request
        assert b"DERP\xf0" not in answer, f"it has greeted: {request}"
    plain.expect({"derp_accepts": 0})
    plain.expect_closes(http_error=len(BROKEN[group]))
    plain.expect_unharmed()


HUGE = 64 * 1024
HUGE_REQUESTS = {
    "line": b"GET /" + b"a" * HUGE + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "no line end": b"a" * HUGE,
    "one header": derp.http_request("GET", "/derp", [("X-Long", "a" * HUGE)]),
    "header name": derp.http_request("GET", "/derp", [("a" * HUGE, "x")]),
    "many headers": derp.http_request("GET", "/derp", [("X-Many", "y")] * (HUGE // 11)),
    "upgrade": derp.upgrade_request(derp.FAST_START, ("X-Long", "a" * HUGE)),
}


@pytest.mark.ours
@pytest.mark.parametrize("kind", HUGE_REQUESTS)
def test_huge_requests(either, kind):
    answer = exchange(either, HUGE_REQUESTS[kind])
    assert statuses(answer)[0] in (400, 414, 431)
    either.expect_closes(http_error=1)


@pytest.mark.ours
def test_limit_of_the_head(plain):
    fits = derp.http_request(
        "GET", "/generate_204", [("X-Long", "a" * 16000), ("Connection", "close")]
    )
    assert statuses(exchange(plain, fits)) == [204]
    too_long = derp.http_request(
        "GET", "/generate_204", [("X-Long", "a" * 16384), ("Connection", "close")]
    )
    assert statuses(exchange(plain, too_long)) == [431]
    plain.expect_closes(http_done=1, http_error=1)


def test_odd_requests_are_answered_or_closed(plain):
    """Where servers may differ, but must not hang or fall over."""
    odd = [
        b"GET / HTTP/1.1\nHost: a\nConnection: close\n\n",
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Folded: a\r\n b\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /%zz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nConnection: close\r\n\r\n",
        derp.http_request("POST", "/", [("Expect", "100-continue"), ("Connection", "close")]),
    ]
    for request in odd:
        assert b"root:" not in exchange(plain, request)
    plain.expect_unharmed()
