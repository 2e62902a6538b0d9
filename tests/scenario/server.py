"""The server under test: starting, asking, stopping one process.

Environment: SLUICE_BIN names the binary. SLUICE_ORACLE says that this binary is upstream's derper:
flags and counters of ours are then left out, so that the rest can be checked against the original.
SLUICE_DERPER names a derper that is to stand beside ours. SLUICE_SANITIZER allows more time for the
exit.
"""

import errno
import http.client
import json
import os
import random
import re
import resource
import signal
import socket
import subprocess
import time
from functools import partial
from pathlib import Path

import derp
import pytest
from nacl.public import PrivateKey

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("SLUICE_BIN") or ROOT / "build" / "sluice").absolute()
ORACLE = bool(os.environ.get("SLUICE_ORACLE"))
DERPER = BINARY if ORACLE else os.environ.get("SLUICE_DERPER")
EXIT_TIMEOUT = 10.0 if os.environ.get("SLUICE_SANITIZER") else 1.0
LOOPBACK = "127.0.0.1"

# Flags that derper doesn't know.
OUR_FLAGS = {
    "workers",
    "flow-limit",
    "log-level",
    "send-queue-packets",
    "debug-listen",
    "max-pre-login",
    "tls-engine",
    "mesh-ca",
    "mesh-pin",
}

SANITIZER_MARKS = (
    "ERROR: AddressSanitizer",
    "runtime error:",
    "WARNING: ThreadSanitizer",
    "LeakSanitizer",
)


def eventually(check, timeout=5.0):
    """Call `check` until it stops raising AssertionError; return what it returned."""
    deadline = time.monotonic() + timeout * derp.SCALE
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.005)


PORTS_GIVEN = set()


def free_port(kind=socket.SOCK_STREAM, host=LOOPBACK):
    """A free port below the range from which the kernel takes the ports of outgoing connections:
    otherwise one of them could take it before the server does. Never the same again, as the first
    may not have been bound yet."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(100):
        port = random.SystemRandom().randrange(10000, 30000)
        if port in PORTS_GIVEN:
            continue
        try:
            with socket.socket(family, kind) as probe:
                probe.bind((host, port))
                PORTS_GIVEN.add(port)
                return port
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                pytest.skip(f"this machine has no {host}")
    raise AssertionError("no free port found")


# --- metrics --------------------------------------------------------------------------------------

SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Metrics:
    """One reading of /debug/varz."""

    def __init__(self, text):
        self.samples = []  # (name, labels, value)
        for line in text.splitlines():
            if line and not line.startswith("#"):
                sample = SAMPLE.match(line)
                assert sample, f"not a Prometheus sample: {line!r}"
                labels = dict(LABEL.findall(sample["labels"] or ""))
                self.samples.append((sample["name"], labels, float(sample["value"])))

    def labelled(self, name):
        return [(labels, value) for n, labels, value in self.samples if n == name]

    def sum(self, selector):
        """The sum of all samples that `name{label="value",…}` selects; labels left out match."""
        name, _, labels = selector.partition("{")
        wanted = dict(LABEL.findall(labels)).items()
        series = self.labelled(name)
        assert series, f"no metric is called {name}"
        return sum(value for labels, value in series if wanted <= labels.items())

    def closes(self):
        """How many connections were closed, by reason."""
        series = self.labelled("sluice_conns_closed_total")
        return {labels["reason"]: int(value) for labels, value in series if value}


# --- web pages ------------------------------------------------------------------------------------


class _Http(http.client.HTTPConnection):
    """HTTP over whatever `opener` returns."""

    def __init__(self, opener):
        super().__init__(LOOPBACK, timeout=derp.TIMEOUT)
        self.opener = opener

    def connect(self):
        self.sock = self.opener()


class Page:
    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()
        self.text = self.body.decode()


# --- the process ----------------------------------------------------------------------------------


class Server:
    """A running server on loopback. `flags` are its flags, with _ for -; None leaves one of ours
    away. Clients are closed after the server, so that every exit is one with open connections."""

    def __init__(
        self,
        directory,
        tls=True,
        host=LOOPBACK,
        port=None,
        nofile=None,
        env=None,
        derper=False,
        **flags,
    ):
        self.directory = directory
        self.derper = derper or ORACLE
        self.binary = DERPER if derper else BINARY
        self.nofile, self.env = nofile, env
        self.tls = tls
        self.address = (host, port or free_port(host=host))
        self.log_path = directory / "server.log"
        self.flags = self._flags(flags)
        self.connections = []
        self.scraper = None
        self.stopped = False
        self.process = self._start()

    def _flags(self, flags):
        host, port = self.address
        merged = {"a": f"[{host}]:{port}" if ":" in host else f"{host}:{port}"}
        merged |= {
            "http-port": -1,
            "stun": "false",
            "c": self.directory / "server.key",
            "workers": 2,
        }
        if self.tls:
            merged |= {"certmode": "manual", "hostname": host, "certdir": self.directory}
        merged |= {name.replace("_", "-"): value for name, value in flags.items()}
        skipped = OUR_FLAGS if self.derper else ()
        return {name: value for name, value in merged.items() if name not in skipped}

    def _start(self):
        arguments = []
        for name, value in self.flags.items():
            if value is not None:
                arguments += [f"-{name}={value}"]
        with open(self.log_path, "ab") as log:
            return subprocess.Popen(
                [self.binary, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | (self.env or {}),
                preexec_fn=partial(resource.setrlimit, resource.RLIMIT_NOFILE, self.nofile)
                if self.nofile
                else None,
            )

    def wait_ready(self):
        """Ready is when the metrics come. The connection used is kept, so that a server's
        counters of connections start without any that came and went."""

        def answers():
            if self.process.poll() is not None:  # there is nothing to wait for
                pytest.fail(f"the server has ended:\n{self.log}")
            try:
                return self.metrics()
            except OSError as e:
                raise AssertionError(f"no answer yet: {e}") from e

        eventually(answers)
        return self

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def stop(self, signal_number=signal.SIGTERM):
        """Stop the server and check how it ends."""
        self.stopped = True
        try:
            assert self.process.poll() is None, (
                f"the server died by itself: {self.process.returncode}"
            )
            self.process.send_signal(signal_number)
            assert self._wait() == 0, f"exit status {self.process.returncode}"
        finally:
            self.kill()
        for mark in SANITIZER_MARKS:
            assert mark not in self.log, f"sanitizer report:\n{self.log}"

    def restart(self):
        """Start the same server anew: same flags, same key file."""
        assert self.process.poll() is not None, "it is running still"
        if self.scraper:
            self.scraper.close()
            self.scraper = None
        self.stopped = False
        self.process = self._start()
        return self.wait_ready()

    def _wait(self):
        try:
            return self.process.wait(EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running {EXIT_TIMEOUT} s after the signal") from None

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def close(self):
        """Let go of everything, however the test ended."""
        self.kill()
        if self.scraper:
            self.scraper.close()
        for conn in self.connections:
            conn.close()

    # Connections

    def connect(self, tls=None, rcvbuf=None, version=None, alpn=None, source=None):
        """A connection on which nothing but TLS has happened."""
        sock = derp.dial(self.address, rcvbuf, source)
        if self.tls if tls is None else tls:
            sock = derp.tls_context(version, alpn).wrap_socket(sock)
        conn = derp.Conn(sock)
        self.connections.append(conn)
        return conn

    def open(self, how="upgrade", private=None, **options):
        """A client that has not read the greeting yet."""
        return derp.Client(derp.open_derp(self.connect(**options), how), private)

    def login(self, how="upgrade", private=None, **options):
        return self.open(how, private, **options).login()

    @property
    def private(self):
        """The server's own private key."""
        text = json.loads((self.directory / "server.key").read_text())["PrivateKey"]
        return PrivateKey(bytes.fromhex(text.removeprefix("privkey:")))

    @property
    def key(self):
        return bytes(self.private.public_key)

    # Pages

    def _open_scraper(self):
        where = str(self.flags.get("debug-listen", "")).removeprefix("unix:")
        if where.startswith("/"):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(derp.TIMEOUT)
            sock.connect(where)
            return sock
        if where:
            host, _, port = where.rpartition(":")
            return derp.dial((host, int(port)))
        sock = derp.dial(self.address)
        return derp.tls_context().wrap_socket(sock) if self.tls else sock

    def get(self, path, method="GET", **headers):
        """A page, over one connection that is kept alive; where debug pages have their own
        listener, over that one."""
        self.scraper = self.scraper or _Http(self._open_scraper)
        try:
            self.scraper.request(
                method, path, headers={n.replace("_", "-"): v for n, v in headers.items()}
            )
            return Page(self.scraper.getresponse())
        except (OSError, http.client.HTTPException) as e:
            self.scraper = self.scraper.close()
            raise OSError(str(e)) from e

    def metrics(self):
        page = self.get("/debug/varz")
        assert page.status == 200
        return Metrics(page.text)

    def json(self, path, query=""):
        page = self.get(f"{path}?format=json{query}")
        assert page.status == 200
        return json.loads(page.text)

    def flows(self, query=""):
        return self.json("/debug/flows", query)

    def clients(self):
        """A row for every connection, and for every key that is known without being connected."""
        return self.json("/debug/clients", "&limit=0")["clients"]

    def links(self):
        """This node's mesh links, as it tells of them."""
        return self.json("/debug/mesh")["links"]

    # Expectations. They wait, for counters are allowed to follow what they count.

    def expect(self, counters, **options):
        """Each selector (see Metrics.sum) reaches just its value."""

        def check():
            metrics = self.metrics()
            got = {selector: metrics.sum(selector) for selector in counters}
            assert got == counters

        eventually(check, **options)

    def expect_closes(self, **reasons):
        """Just these connections have ended, for these reasons, each counted once."""

        def check():
            assert self.metrics().closes() == reasons

        if not self.derper:
            eventually(check)

    def expect_reconciled(self):
        """Every packet that came in has gone out or was dropped, with the mesh counted as well."""

        def check():
            metrics = self.metrics()

            def balance(unit, mesh):
                came = metrics.sum(f"derp_{unit}_received") + metrics.sum(f"{mesh}_in")
                went = metrics.sum(f"derp_{unit}_sent") + metrics.sum(f"{mesh}_out")
                dropped = metrics.sum(f"derp_{unit}_dropped")
                assert came == went + dropped, f"{unit}: {went} went, {dropped} dropped"

            balance("packets", "derp_packets_forwarded")
            if not self.derper:  # which doesn't count the bytes
                balance("bytes", "sluice_bytes_forwarded")

        eventually(check)

    def expect_unharmed(self):
        """A newcomer can log in and talk."""
        client = self.login()
        client.send_packet(client.key, b"still there?")
        assert client.recv_packet() == (client.key, b"still there?")
        client.close()
