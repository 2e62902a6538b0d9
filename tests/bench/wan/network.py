# SPDX-License-Identifier: BSD-3-Clause
"""Network namespaces and what joins them: senders next to the hub, a receiver behind a delay line.

    near1 ─┐
    near2 ─┼─ hub ──[ delay, rate, loss, queue ]── far
    near3 ─┘

The hub forwards nothing, so between near and far there is no way but through the relay that runs on
it. Addresses are of 198.18.0.0/15, which is for benchmarks, and exist in these namespaces only.
"""

import contextlib
import ctypes
import json
import os
import re
import shutil
import subprocess
import threading

import servers
from servers import Failed

PREFIX = "sluice-wan"
TOOLS = ["ip", "setpriv", "nsenter", "unshare", "sysctl", "cc"]
HUB = "198.18.0.1"
FAR, FAR_GATE = "198.18.9.2", "198.18.9.1"
NEAR = ["near1", "near2", "near3"]
NAMES = ["hub", *NEAR, "far"]
CONGESTION = "cubic"  # what Debian comes with, and so what clients have
# Of the longest path: what a line may live when everybody has forgotten it.
LINE_SECONDS = 900
CLONE_NEWNET = 0x40000000


def address(name):
    """Of a node's own, outside the tunnel."""
    return FAR if name == "far" else f"198.18.{NEAR.index(name) + 1}.2"


def lacks():
    """Why there can be no namespaces and no line here; None when there can."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as e:
        return f"/dev/net/tun: {e.strerror}"
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    return f"needs {' and '.join(missing)}" if missing else None


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {done.stderr.rstrip()}")
    return done.stdout


def alive(pid):
    return os.path.exists(f"/proc/{pid}")


def left_behind():
    """Namespaces of runs that had no time to remove them."""
    with contextlib.suppress(OSError):
        for name in os.listdir("/run/netns"):
            found = re.fullmatch(rf"{PREFIX}-(\d+)-\w+", name)
            if found and not alive(found[1]):
                yield name


def remove(name):
    if os.path.exists(f"/run/netns/{name}"):
        run("ip", "netns", "del", name)


class Process:
    """A child in a namespace, that dies with us; its output goes to a file."""

    def __init__(self, netns, args, log, env=None, stdin=subprocess.DEVNULL, ready=False):
        self.args, self.log = args, log
        enter = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net=/run/netns/{netns}"]
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                [*enter, *args], stdin=stdin, stdout=subprocess.PIPE if ready else out, stderr=out,
                env=dict(os.environ, **(env or {})), start_new_session=True)
        if ready:
            self._ready()

    def _ready(self):
        try:
            if self.process.stdout.readline() != b"ready\n":
                raise Failed(f"{os.path.basename(self.args[0])} does not start:\n{self.tail()}")
        except BaseException:
            self.kill()
            raise

    def check(self):
        if self.process.poll() is not None:
            raise Failed(f"{os.path.basename(self.args[0])} has ended:\n{self.tail()}")

    def tail(self, lines=8):
        with open(self.log, errors="replace") as f:
            return "".join(f.readlines()[-lines:]).rstrip()

    def kill(self):
        """Of what has nothing to put in order."""
        self.process.kill()
        self.stop()

    def stop(self):
        servers.end(self.process, 3)
        for pipe in self.process.stdin, self.process.stdout:
            if pipe:
                pipe.close()


class Line(Process):
    """The delay line; its devices vanish with it."""

    def __init__(self, program, network, path, seed, log):
        super().__init__(network.netns("hub"), [
            program, "-n", network.netns("hub"), "-f", network.netns("far"), "-d",
            str(path.delay_ms), "-r", str(path.mbit), "-l", str(path.loss), "-b",
            str(path.loss_back), "-q", str(path.queue_bytes), "-s", str(seed), "-t",
            str(LINE_SECONDS)], log,
            stdin=subprocess.PIPE, ready=True)

    def counts(self):
        """What it did since it was asked last."""
        self.check()
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def congestion_controls(which):
    with open(f"/proc/sys/net/ipv4/tcp_{which}_congestion_control") as f:
        return f.read().split()


class Allowed:
    """Lets namespaces choose these congestion controls as their preset; the one thing that is set
    for the whole machine, and set back at the end."""

    def __init__(self, names):
        missing = sorted(set(names) - set(congestion_controls("available")))
        if missing:
            raise Failed(f"the kernel has no congestion control {' or '.join(missing)}")
        self.before = congestion_controls("allowed")
        self.more = sorted(set(names) - set(self.before))

    def _set(self, names):
        run("sysctl", "-qw", f"net.ipv4.tcp_allowed_congestion_control={' '.join(names)}")

    def __enter__(self):
        if self.more:
            self._set(self.before + self.more)
        return self

    def __exit__(self, *_):
        if self.more:
            self._set(self.before)


class Network:
    """The namespaces. `with` removes them, whatever happens."""

    def netns(self, name):
        return f"{PREFIX}-{os.getpid()}-{name}"

    def __enter__(self):
        try:
            for name in NAMES:
                run("ip", "netns", "add", self.netns(name))
                self.ip(name, "link", "set", "lo", "up")
                self.sysctl(name, "net.ipv6.conf.all.disable_ipv6=1",
                            "net.ipv6.conf.default.disable_ipv6=1",
                            f"net.ipv4.tcp_congestion_control={CONGESTION}",
                            # Connections begin without what others of the same path have learnt.
                            "net.ipv4.tcp_no_metrics_save=1")
            self.forward(False)
            self.ip("hub", "addr", "add", f"{HUB}/32", "dev", "lo")
            for i, name in enumerate(NEAR, 1):
                self.ip("hub", "link", "add", name, "type", "veth", "peer", "name", "hub", "netns",
                        self.netns(name))
                self.join("hub", name, f"198.18.{i}.1/30")
                self.join(name, "hub", f"198.18.{i}.2/30")
                self.ip(name, "route", "add", "default", "via", f"198.18.{i}.1")
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        for name in NAMES:
            remove(self.netns(name))

    def ip(self, name, *args):
        return run("ip", "-n", self.netns(name), *args)

    def join(self, name, device, address):
        self.ip(name, "addr", "add", address, "dev", device)
        self.ip(name, "link", "set", device, "up")

    def join_line(self):
        self.join("hub", "line", f"{FAR_GATE}/30")
        self.join("far", "line", f"{FAR}/30")
        self.ip("far", "route", "add", "default", "via", FAR_GATE)

    def sysctl(self, name, *settings):
        run("nsenter", f"--net=/run/netns/{self.netns(name)}", "sysctl", "-qw", *settings)

    def forward(self, on):
        """Whether IP has a way between near and far, past the relay."""
        self.sysctl("hub", f"net.ipv4.ip_forward={int(on)}")

    def inside(self, name, function):
        """Calls a function in a thread that is in the namespace, and returns what it returns."""
        result = []

        def enter():
            libc = ctypes.CDLL(None, use_errno=True)
            try:
                with open(f"/run/netns/{self.netns(name)}") as f:
                    if libc.setns(f.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                result.append(function())
            except Exception as e:
                result.append(e)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if isinstance(result[0], Exception):
            raise result[0]
        return result[0]
