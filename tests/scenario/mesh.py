"""What a mesh needs: certificates, the shared key, and the other side of it, made by hand.

certificate()   makes one with the openssl command
mesh_flags()    of a node that knows the shared key
mesh_peer()     we dial a node, as another node would
FakeNode        a node dials us
"""

import contextlib
import json
import os
import socket
import ssl
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import derp
from derp import KEY_LEN, NONCE_LEN
from nacl.public import Box, PrivateKey, PublicKey
from server import LOOPBACK, free_port

MESH_KEY = "6d657368206f66207465737473206d657368206f66207465737473206d657368"
OTHER_KEY = MESH_KEY[:-1] + "9"


class Certificate(NamedTuple):
    """Where its files are: 127.0.0.1.crt and .key in a directory of their own."""

    directory: Path

    @property
    def crt(self):
        return self.directory / f"{LOOPBACK}.crt"

    @property
    def key(self):
        return self.directory / f"{LOOPBACK}.key"

    @property
    def pin(self):
        der = ssl.PEM_cert_to_DER_cert(self.crt.read_text())
        return "sha256-raw:" + sha256(der).hexdigest()


def certificate(directory, name=f"IP:{LOOPBACK}", ca=None, expired=False):
    """A certificate for `name`, self-signed or by the Certificate `ca`; an expired one is always
    self-signed."""
    directory.mkdir()
    made = Certificate(directory)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=" + name.replace(":", " ")]
    command += ["-addext", f"subjectAltName={name}", "-keyout", made.key, "-out", made.crt]
    if ca:
        command += ["-CA", ca.crt, "-CAkey", ca.key]
    subprocess.run(command, check=True, capture_output=True)
    if expired:
        command = ["openssl", "x509", "-days", "-1", "-signkey", made.key]
        subprocess.run(
            [*command, "-in", made.crt, "-out", made.crt], check=True, capture_output=True
        )
    return made


def psk_file(directory):
    """With the shared key."""
    path = directory / "mesh.key"
    path.write_text(MESH_KEY + "\n")
    path.chmod(0o600)
    return path


def mesh_flags(directory, cert):
    """Flags of a node with the shared key and `cert` that trusts `cert`."""
    return {
        "tls": True,
        "certdir": cert.directory,
        "mesh_psk_file": psk_file(directory),
        "mesh_ca": cert.crt,
    }


def trusting(cert, derper):
    """derper trusts what the system does, and this says what that is."""
    return {"SSL_CERT_FILE": str(cert.crt)} if derper else None


def mesh_peer(node, key=MESH_KEY, private=None, **fields):
    """Logged in at `node` as another node does; not a watcher yet."""
    return node.open(private=private).login(meshKey=key, **fields)


def keys(n):
    """Of nobody."""
    return [os.urandom(KEY_LEN) for _ in range(n)]


def knows(node, remote, timeout=5):
    """The node has taken in that so many keys are elsewhere."""
    node.expect({"derp_clients_remote": remote}, timeout=timeout)


def both_reach(node, first, second, key):
    """Both links say that they reach it, and the node has taken it in; `first` is the older one."""
    first.present(key)
    knows(node, 1)
    second.present(key)
    node.expect({"derp_multiforwarder_created": 1})


def flow_of(node, **wanted):
    """The one flow with these columns."""
    rows = [r for r in node.flows()["flows"] if all(r[k] == v for k, v in wanted.items())]
    assert len(rows) == 1, f"{len(rows)} flows instead of one"
    return rows[0]


# --- a node that a node dials ---------------------------------------------------------------------


class FakeNode:
    """Listens for the node under test. The test accepts, and says everything by itself; until then
    connections wait in the kernel. `name` is what the node under test calls it, and `address` is
    where it listens."""

    def __init__(self, cert, name=LOOPBACK, address=LOOPBACK):
        self.cert = cert
        self.name = name
        self.private = PrivateKey.generate()
        self.port = free_port(host=address)
        self.listener = socket.create_server(
            (address, self.port),
            family=socket.AF_INET6 if ":" in address else socket.AF_INET,
            backlog=64,
        )
        self.links = []

    @property
    def key(self):
        return bytes(self.private.public_key)

    @property
    def host(self):
        """As in -mesh-with."""
        return f"{self.name}:{self.port}"

    def accept(self, timeout=derp.TIMEOUT, rcvbuf=None):
        """The next connection, on which nothing has happened yet."""
        if rcvbuf:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.listener.settimeout(timeout)
        sock, _ = self.listener.accept()
        sock.settimeout(derp.TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = FakeLink(self, sock)
        self.links.append(link)
        return link

    def up(self, **options):
        """The next connection, taken up to where it watches."""
        return self.accept(**options).log_in()

    def close(self):
        self.listener.close()
        for link in self.links:
            link.close()


class FakeLink(derp.Session):
    """One connection to a FakeNode. The steps of `log_in` can be taken one by one."""

    def __init__(self, node, sock):
        super().__init__(derp.Conn(sock))
        self.node = node
        self.peer = None  # the key that logged in
        self.info = None  # its ClientInfo
        self.request = b""
        self.answers_pings = True

    def handshake(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.node.cert.crt, self.node.cert.key)
        self.conn = derp.Conn(context.wrap_socket(self.conn.sock, server_side=True))
        return self

    def read_request(self):
        self.request = self.conn.read_until(b"\r\n\r\n")
        assert self.request.startswith(b"GET /derp HTTP/1.1\r\n"), self.request
        return self

    def answer_upgrade(self):
        if b"derp-fast-start: 1" not in self.request.lower():
            self.send(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n"
                b"Derp-Version: 2\r\nDerp-Public-Key: %s\r\n\r\n" % self.node.key.hex().encode()
            )
        return self

    def greet(self):
        self.send_frame(derp.SERVER_KEY, derp.MAGIC + self.node.key)
        return self

    def read_client_info(self):
        payload = self.expect(derp.CLIENT_INFO)
        self.peer = payload[:KEY_LEN]
        box = Box(self.node.private, PublicKey(self.peer))
        self.info = json.loads(box.decrypt(payload[KEY_LEN:]))
        return self

    def send_server_info(self, plaintext=b'{"version":2}', nonce=None):
        box = Box(self.node.private, PublicKey(self.peer))
        nonce = nonce or os.urandom(NONCE_LEN)
        self.send_frame(derp.SERVER_INFO, bytes(box.encrypt(plaintext, nonce)))
        return self

    def read_watch(self):
        assert self.expect(derp.WATCH_CONNS) == b""
        return self

    def log_in(self):
        self.handshake().read_request().answer_upgrade().greet()
        return self.read_client_info().send_server_info().read_watch()

    # Frames

    def _read_frame(self, timeout=derp.TIMEOUT):
        """Pings, which may come at any time, are answered and not told."""
        while (got := super()._read_frame(timeout)).type == derp.PING and self.answers_pings:
            self.send_frame(derp.PONG, got.payload[:8])
        return got

    def present(self, *keys, **options):
        self.send(b"".join(derp.peer_present_frame(key, **options) for key in keys))
        return self

    def gone(self, *keys, reason=derp.GONE_DISCONNECTED):
        self.send(b"".join(derp.peer_gone_frame(key, reason) for key in keys))
        return self

    def recv_forward(self, timeout=derp.TIMEOUT):
        """(source, destination, packet)"""
        payload = self.expect(derp.FORWARD_PACKET, timeout)
        return payload[:KEY_LEN], payload[KEY_LEN:][:KEY_LEN], payload[2 * KEY_LEN :]

    def read_to_close(self, timeout=derp.TIMEOUT):
        """Let the other side close, whatever it says before."""
        with contextlib.suppress(derp.Closed):
            return self.conn.read_to_end(timeout)
