# SPDX-License-Identifier: BSD-3-Clause
"""The nodes: a tailscaled in each namespace, or what stands for one, or nothing at all.

Each kind is started with `start`, gives the addresses to send to in `address`, and makes new
connections to the relay with `renew`.
"""

import json
import os
import signal
import subprocess
import time

import network
from network import Process
from servers import Failed

NODES = [*network.NEAR, "far"]
CONTROL_PORT = 8080
QUIET = {
    "TS_NO_LOGS_NO_SUPPORT": "true",
    "TS_DISABLE_PORTMAPPER": "true",
    "TS_DEBUG_ALWAYS_USE_DERP": "true",
    "TS_DEBUG_DISABLE_PORTLIST": "true",
    "TS_DISABLE_UPNP": "true",
}


class Direct:
    """No nodes: what is sent goes through the line as it is."""

    def __init__(self, *_):
        self.address = {name: network.address(name) for name in [*network.NEAR, "far"]}

    def renew(self):
        pass

    def stop(self):
        pass


class Inner:
    """IP in DERP, without WireGuard."""

    def __init__(self, programs, net, directory):
        self.address = {name: f"100.64.0.{i}" for i, name in enumerate(NODES, 1)}
        self.processes = []
        try:
            for name in NODES:
                peers = ",".join(f"{n}={a}" for n, a in self.address.items() if n != name)
                self.processes.append(Process(
                    net.netns(name), [programs.inner, "-name", name, "-relay", network.HUB,
                                      "-peers", peers],
                    os.path.join(directory, f"{name}.log"), ready=True))
                net.join(name, "inner0", f"{self.address[name]}/24")
        except BaseException:
            self.stop()
            raise

    def renew(self):
        for p in self.processes:
            p.check()
            p.process.send_signal(signal.SIGHUP)

    def stop(self):
        for p in self.processes:
            p.kill()


class Tailscaled:
    """Upstream's, with a control server of its own."""

    def __init__(self, programs, net, directory):
        self.programs, self.net, self.directory = programs, net, directory
        self.processes, self.address = [], {}
        # Whatever it does to the resolver stays in its mount namespace.
        self.resolver = os.path.join(directory, "resolv.conf")
        with open(self.resolver, "w"):
            pass
        try:
            control = f"{network.HUB}:{CONTROL_PORT}"
            self.processes.append(Process(
                net.netns("hub"), [programs.control, "-listen", control, "-relay", network.HUB],
                os.path.join(directory, "control.log"), ready=True))
            for name in NODES:
                self._start(name)
            ups = [self._cli(name, "up", f"--login-server=http://{control}", "--accept-dns=false",
                             "--netfilter-mode=off", f"--hostname={name}", "--timeout=40s")
                   for name in NODES]
            for up in ups:
                self._done(up)
            for name in NODES:
                status = json.loads(self._done(self._cli(name, "status", "--json")))
                self.address[name] = status["Self"]["TailscaleIPs"][0]
        except BaseException:
            self.stop()
            raise

    def _socket(self, name):
        return os.path.join(self.directory, f"{name}.sock")

    def _start(self, name):
        isolate = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
                   'mount --bind "$0" "$(realpath /etc/resolv.conf)"; exec "$@"', self.resolver]
        state = os.path.join(self.directory, name)
        os.makedirs(state)
        self.processes.append(Process(
            self.net.netns(name), [*isolate, self.programs.tailscaled, "--tun=tailscale0",
                                   "--state=mem:", f"--statedir={state}", "--no-logs-no-support",
                                   f"--socket={self._socket(name)}"],
            os.path.join(self.directory, f"{name}.log"), env=QUIET))
        until = time.monotonic() + 15
        while not os.path.exists(self._socket(name)):
            self.processes[-1].check()
            if time.monotonic() > until:
                raise Failed(f"tailscaled of {name} has no socket:\n{self.processes[-1].tail()}")
            time.sleep(0.02)

    def _cli(self, name, *args):
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", self.programs.tailscaled,
             f"--socket={self._socket(name)}", *args],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=dict(os.environ, TS_BE_CLI="1"))

    def _done(self, process):
        try:
            out, _ = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise Failed(f"{' '.join(process.args[5:])} takes too long") from None
        if process.returncode != 0:
            raise Failed(f"tailscale {' '.join(process.args[5:])}: {out.rstrip()}")
        return out

    def renew(self):
        for p in self.processes:
            p.check()
        for cli in [self._cli(name, "debug", "break-derp-conns") for name in NODES]:
            self._done(cli)

    def stop(self):
        # What they keep is in memory and in namespaces that go as well.
        for p in self.processes:
            p.kill()


KINDS = {"tun": Tailscaled, "inner": Inner}
