# SPDX-License-Identifier: BSD-3-Clause
"""The relays that take turns: `derper:bbr`, `sluice -queue fifo`, `none:cubic`."""

import os
import re
import shlex
import socket
import ssl
import time
import urllib.request

import network
import servers
from servers import Failed


class Relay:
    """One of them: NAME[:CONGESTION] [FLAG...]. NAME is derper, sluice, none or a file; CONGESTION
    is the preset of the kernel on which it runs."""

    def __init__(self, spec, options):
        self.name = spec
        words = shlex.split(spec)
        which, _, congestion = words[0].partition(":")
        self.congestion, self.flags = congestion or network.CONGESTION, words[1:]
        self.none = which == "none"
        if self.none:
            return
        if which == "derper":
            self.binary = options.derper or servers.build_derper()
        else:
            self.binary = options.sluice if which == "sluice" else which
        self.binary = os.path.abspath(self.binary)
        if not os.access(self.binary, os.X_OK):
            raise Failed(f"{self.binary} is not there: build it first")

    def start(self, net, directory):
        return Running(self, net, directory)


class Running(network.Process):
    """A relay on the hub, with a certificate of its own making."""

    forwards = False  # IP, past the relay

    def __init__(self, relay, net, directory):
        self.net = net
        own = os.path.join(directory, "relay")
        os.makedirs(own)
        net.sysctl("hub", f"net.ipv4.tcp_congestion_control={relay.congestion}")
        super().__init__(net.netns("hub"), [
            relay.binary, "-a", ":443", "-hostname", network.HUB, "-http-port", "-1",
            "-stun=false", "-certmode", "manual", "-certdir", own, "-c",
            os.path.join(own, "key.json"), *relay.flags], os.path.join(directory, "relay.log"))
        self._wait()

    def _wait(self):
        def connect():
            socket.create_connection(("127.0.0.1", 443), timeout=1).close()

        until = time.monotonic() + 15
        while time.monotonic() < until:
            self.check()
            try:
                return self.net.inside("hub", connect)
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise Failed(f"{self.args[0]} does not listen:\n{self.tail()}")

    def varz(self):
        """Its metrics as numbers, by name with labels; those that speak of packets and bytes."""
        def get():
            context = ssl._create_unverified_context()
            with urllib.request.urlopen("https://127.0.0.1/debug/varz", timeout=10,
                                        context=context) as page:
                return page.read().decode()

        try:
            text = self.net.inside("hub", get)
        except OSError as e:
            raise Failed(f"{self.args[0]}: /debug/varz: {e}") from None
        found = re.findall(r"^((?:derp|sluice)_\S+) ([0-9.e+-]+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in found}


class Nothing:
    """In the place of a relay when there is none: the hub forwards IP."""

    forwards = True

    def __init__(self, net):
        net.forward(True)

    def check(self):
        pass

    def varz(self):
        return {}

    def stop(self):
        pass
