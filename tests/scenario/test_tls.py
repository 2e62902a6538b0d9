"""TLS: versions, the certificate chain, handshakes cut off, records that are no records."""

import contextlib
import hashlib
import re
import socket
import ssl

import pytest

import derp

TLS_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class BioConn(derp.Conn):
    """TLS whose records pass through our hands before they are sent."""

    def __init__(self, sock, version=None):
        super().__init__(sock)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = derp.tls_context(version).wrap_bio(self.incoming, self.outgoing)

    def flights(self):
        """Shake hands. Each flight of ours is yielded; the caller sends it."""
        done = False
        while not done:
            try:
                self.tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            yield self.outgoing.read()
            if not done:
                self.incoming.write(self.sock.recv(65536))

    def shake_hands(self):
        for flight in self.flights():
            self.sock.sendall(flight)
        return self

    def seal(self, data):
        """The records that carry `data`."""
        self.tls.write(data)
        return self.outgoing.read()

    def send(self, data):
        self.sock.sendall(self.seal(data))

    def fill(self, timeout=derp.TIMEOUT):
        while True:
            try:
                self.buffer += self.tls.read(65536)
                return
            except ssl.SSLWantReadError:
                self.sock.settimeout(timeout)
                data = self.sock.recv(65536)
                if not data:
                    raise derp.Closed("end of stream") from None
                self.incoming.write(data)
            except (ssl.SSLError, OSError) as e:
                raise derp.Closed(str(e)) from e


@pytest.fixture
def bio(tls):
    """Makes BioConns to the server."""
    opened = []

    def start(version=None):
        conn = BioConn(derp.dial(tls.address), version)
        opened.append(conn)
        return conn

    yield start
    for conn in opened:
        conn.close()


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("alpn", [None, ["http/1.1"], ["h2", "http/1.1"]])
def test_tls_versions_and_alpn(tls, version, alpn):
    active = f'derper_tls_active_version{{version="{version}"}}'
    before = tls.metrics().sum(active)
    client = tls.login(version=TLS_VERSIONS[version], alpn=alpn)
    assert client.conn.sock.selected_alpn_protocol() == ("http/1.1" if alpn else None)
    client.send_packet(client.key, b"x" * 40000)
    assert client.recv_packet() == (client.key, b"x" * 40000)
    tls.expect({active: before + 1})


def test_old_tls_is_refused(tls):
    with pytest.warns(DeprecationWarning):
        context = derp.tls_context(ssl.TLSVersion.TLSv1_1)
    context.set_ciphers("ALL:@SECLEVEL=0")  # so that the client at least asks
    with pytest.raises(ssl.SSLError):
        context.wrap_socket(derp.dial(tls.address))
    tls.expect_closes(tls_failed=1)


def test_no_certificate_but_leaf_and_meta(tls):
    """With a pinned leaf, clients want just one certificate besides the meta certificate."""
    for version in TLS_VERSIONS.values():
        client = tls.login(version=version)
        leaf, meta = certificate_chain(client.conn.sock)
        assert leaf == client.conn.sock.getpeercert(binary_form=True)
        assert b"derpkey" + client.server_key.hex().encode() in meta
        # SEQUENCE, SEQUENCE, [0] version 3, serial number 2 = the protocol's version
        assert re.match(rb"0\x82..0\x82..\xa0\x03\x02\x01\x02\x02\x01\x02", meta, re.DOTALL)


def certificate_chain(sock):
    """The chain as sent, in DER (Python has no public call for this before 3.13)."""
    certificates = sock._sslobj.get_unverified_chain()
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in certificates]


def test_log_names_the_pin(tls):
    """The self-signed certificate's DERP map entry is logged, for pasting."""
    leaf = certificate_chain(tls.connect().sock)[0]
    assert f'"CertName":"sha256-raw:{hashlib.sha256(leaf).hexdigest()}"' in tls.log.replace(" ", "")
    assert '"HostName":"127.0.0.1"' in tls.log.replace(" ", "")


# --- ends -----------------------------------------------------------------------------------------


@pytest.mark.subset
@pytest.mark.parametrize("version", TLS_VERSIONS)
def test_handshake_cut_off_anywhere(tls, bio, version):
    """By FIN or by reset, inside a flight or between two: it is the client who has left."""
    whole = bio(TLS_VERSIONS[version])
    lengths = []
    for flight in whole.flights():
        whole.sock.sendall(flight)
        lengths.append(len(flight))
    whole.close()
    cuts = sorted(
        {*range(0, sum(lengths), 37), 1, 4, 5, 6, lengths[0] - 1, lengths[0], sum(lengths) - 1}
    )
    for n, cut in enumerate(cuts):
        conn = bio(TLS_VERSIONS[version])
        for flight in conn.flights():
            conn.sock.sendall(flight[:cut])
            cut -= len(flight)
            if cut <= 0:
                break
        conn.reset() if n % 2 else conn.close()
    tls.expect_closes(client_closed=len(cuts) + 1)
    tls.expect_unharmed()


@pytest.mark.parametrize("version", TLS_VERSIONS)
def test_close_notify(tls, version):
    client = tls.login(version=TLS_VERSIONS[version])
    client.conn.sock.unwrap()  # sends it and waits for the server's
    tls.expect_closes(client_closed=1)


def test_close_notify_before_any_request(tls):
    tls.connect().sock.unwrap()
    tls.expect_closes(client_closed=1)


@pytest.mark.subset
@pytest.mark.parametrize("version", TLS_VERSIONS)
@pytest.mark.parametrize("logged_in", [False, True])
def test_damaged_record(tls, bio, version, logged_in):
    conn = bio(TLS_VERSIONS[version]).shake_hands()
    if logged_in:
        derp.Client(derp.open_derp(conn)).login()
    record = bytearray(conn.seal(b"to be damaged"))
    record[-1] ^= 1
    conn.sock.sendall(record)
    conn.read_to_end()
    tls.expect({"derp_current_connections": 0})
    tls.expect_closes(tls_failed=1)


@pytest.mark.parametrize("version", TLS_VERSIONS)
def test_records_cut_anywhere(bio, version):
    """A record's bytes may come in any pieces, and several records at once."""
    conn = bio(TLS_VERSIONS[version]).shake_hands()
    client = derp.Client(derp.open_derp(conn)).login()
    packets = [b"%3d" % n * 50 for n in range(6)]
    for piece in (1, 21, 22, 500, 10000):
        records = b"".join(conn.seal(derp.send_packet_frame(client.key, p)) for p in packets)
        for start in range(0, len(records), piece):
            conn.sock.sendall(records[start : start + piece])
        assert [client.recv_packet()[1] for _ in packets] == packets


def test_a_frame_over_many_records(bio):
    conn = bio().shake_hands()
    client = derp.Client(derp.open_derp(conn)).login()
    frame = derp.send_packet_frame(client.key, b"byte by byte")
    conn.sock.sendall(b"".join(conn.seal(bytes([byte])) for byte in frame))
    assert client.recv_packet() == (client.key, b"byte by byte")


RUBBISH = {
    "plain HTTP": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "zeros": bytes(100),
    "record longer than any may be": b"\x16\x03\x01\xff\xff" + b"\1" * 70000,
    "hello of 16 MiB": b"\x16\x03\x01\0\x04\1\xff\xff\xff\x16\x03\x01\x40\0" + b"\1" * 16384,
    "hello without content": b"\x16\x03\x01\0\x05\1\0\0\1\0",
    "data before any handshake": b"\x17\x03\x03\0\x10" + b"\1" * 16,
}


@pytest.mark.parametrize("kind", RUBBISH)
def test_no_tls_at_all(tls, kind):
    conn = tls.connect(tls=False)
    conn.offer(RUBBISH[kind])
    conn.read_to_end()
    tls.expect_closes(tls_failed=1)
    tls.expect_unharmed()


@pytest.mark.ours
def test_request_and_close_notify_in_one_flight(tls):
    """The answer is due all the same."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    engine = derp.tls_context().wrap_bio(incoming, outgoing)
    with socket.create_connection(tls.address, derp.TIMEOUT) as sock:

        def step(action):
            while True:
                try:
                    return action()
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    incoming.write(sock.recv(65536))

        step(engine.do_handshake)
        engine.write(b"GET /robots.txt HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ssl.SSLWantReadError):
            engine.unwrap()
        sock.sendall(outgoing.read())
        answer = b""
        while more := sock.recv(65536):
            answer += more
    # It cannot be read any more after unwrap(), but it is longer than an alert.
    assert len(answer) > 200
    tls.expect_closes(client_closed=1)
