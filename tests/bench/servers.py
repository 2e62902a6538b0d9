# SPDX-License-Identifier: BSD-3-Clause
"""Starts the servers that are compared, and runs `sluice bench` against them.

Loopback only; each server is fresh, in a process group of its own, and ended by its pid.
"""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SLUICE = os.path.join(ROOT, "build", "sluice")
DERPER_SH = os.path.join(ROOT, "tests", "interop", "derper.sh")
SKIPPED = 77


class Failed(Exception):
    """A server that doesn't start, or a run that failed; the text says which and why."""


def go_version():
    """The version of Go as a tuple, None when there is none."""
    try:
        env = dict(os.environ, GOTOOLCHAIN="local")
        out = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, env=env)
    except OSError:
        return None
    m = re.match(r"go(\d+)\.(\d+)", out.stdout)
    return (int(m[1]), int(m[2])) if m else None


def go_lacks():
    """What is there instead of the Go that upstream needs; None when that is there."""
    have = go_version()
    if have and have >= (1, 26):
        return None
    return "found " + ".".join(map(str, have)) if have else "found none"


def build_derper():
    """The path of derper at the version of the interop tests; ends the program without Go."""
    found = go_lacks()
    if found:
        print(f"BENCH SKIPPED: derper needs Go >= 1.26 to be built ({found})", flush=True)
        sys.exit(SKIPPED)
    env = dict(os.environ, GOTOOLCHAIN="local")
    out = subprocess.run([DERPER_SH], stdout=subprocess.PIPE, text=True, env=env)
    if out.returncode != 0:
        raise Failed(f"{DERPER_SH} failed")
    return out.stdout.split()[-1]


def end(process, seconds):
    """Asks it to end, and ends it when it takes longer than that."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Process:
    """What is under load; `with` ends it whatever happens."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="sluice-bench-")
        self.port = free_port()
        self.log = os.path.join(self.dir, "log")
        self.address = f"127.0.0.1:{self.port}"
        self.bench_flags = []

    def start(self, args):
        self.args = args
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._wait()
        except Failed:
            self.stop()
            raise

    def _wait(self):
        until = time.monotonic() + 15
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise Failed(f"{' '.join(self.args)} ended at once:\n{self.tail()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise Failed(f"{' '.join(self.args)} does not listen:\n{self.tail()}")

    def tail(self):
        with open(self.log, errors="replace") as f:
            return "".join(f.readlines()[-5:]).rstrip()

    def stop(self):
        end(self.process, 5)
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Server(Process):
    """A DERP server: derper or sluice."""

    def __init__(self, binary, tls, extra=()):
        super().__init__()
        args = [binary, "-a", self.address, "-hostname", "127.0.0.1", "-http-port", "-1",
                "-stun=false", "-c", os.path.join(self.dir, "key.json")]
        if tls:
            args += ["-certmode", "manual", "-certdir", self.dir]
        self.start(args + list(extra))

    def varz(self):
        """The text of /debug/varz; empty when there is none."""
        scheme = "https" if "-certmode" in self.args else "http"
        context = ssl._create_unverified_context() if scheme == "https" else None
        try:
            with urllib.request.urlopen(f"{scheme}://{self.address}/debug/varz", timeout=10,
                                        context=context) as page:
                return page.read().decode()
        except OSError:
            return ""

    def notes(self):
        """What only the server knows of a run: cycles of each packet sent, by stage, and of
        counting its flow; how many flows there were. Without what it does not count."""
        text = self.varz()

        def number(name):
            found = re.search(rf"^{re.escape(name)} (\d+)$", text, re.MULTILINE)
            return int(found[1]) if found else 0

        notes = {}
        if number("sluice_flows_created"):
            notes["flows_created"] = number("sluice_flows_created")
        packets, priced = number("derp_packets_sent"), number("sluice_flow_priced_packets")
        if packets and priced:
            stages = {stage: int(n) / packets
                      for stage, n in re.findall(r'^sluice_cycles{stage="(\w+)"} (\d+)$', text,
                                                 re.MULTILINE)}
            notes["cycles"] = {**stages, "finding": number("sluice_flow_find_cycles") / priced,
                               "counting": number("sluice_flow_count_cycles") / priced}
        return notes


def find_haproxy():
    """Its path; None, with a line that can't be missed, when it is not installed."""
    path = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if not path:
        print("**** NO HAPROXY: the yardstick is left out; to have it: apt-get install haproxy",
              file=sys.stderr, flush=True)
    return path


class Haproxy(Process):
    """A proxy of one thread that carries bytes, opening and sealing TLS, to a listener of
    `sluice bench pipe`."""

    def __init__(self, binary, tls):
        super().__init__()
        listener = f"127.0.0.1:{free_port()}"
        bind = server = ""
        if tls:
            key, crt = os.path.join(self.dir, "key"), os.path.join(self.dir, "crt")
            out = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                                  "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                                  "/CN=127.0.0.1", "-keyout", key, "-out", crt],
                                 capture_output=True, text=True)
            if out.returncode != 0:
                raise Failed(f"openssl req: {out.stderr.rstrip()}")
            with open(os.path.join(self.dir, "both.pem"), "w") as both:
                for name in crt, key:
                    with open(name) as f:
                        both.write(f.read())
            bind, server = f" ssl crt {both.name}", " ssl verify none"
        config = os.path.join(self.dir, "haproxy.cfg")
        with open(config, "w") as f:
            f.write(f"global\n nbthread 1\n maxconn 1000\ndefaults\n mode tcp\n"
                    f" timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
                    f"listen bench\n bind {self.address}{bind}\n"
                    f" server sink {listener}{server}\n")
        self.bench_flags = ["-listen", listener]
        self.start([binary, "-db", "-f", config])

    def notes(self):
        return {}


class Alias:
    """The same process by another address."""

    def __init__(self, server, address):
        self.process, self.address, self.bench_flags = server.process, address, []
        self.tail = server.tail


def bench(program, server, tls, args, limit_s=300, pid=None):
    """Runs a load against a server and returns what it reports; of another process with pid."""
    command = [program, "bench", *args, *server.bench_flags, "-server", server.address,
               f"-tls={str(tls).lower()}", "-pid", str(pid or server.process.pid), "-json"]
    try:
        out = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command)}: did not end within {limit_s} s") from None
    except OSError as e:
        raise Failed(f"{program}: {e.strerror}") from None
    if out.returncode != 0:
        raise Failed(f"{' '.join(command)}:\n{out.stderr.rstrip()}\n"
                     f"the server's last lines:\n{server.tail()}")
    return json.loads(out.stdout)
