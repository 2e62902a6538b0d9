"""A client behind a line of its own, which is that of the test bed in tests/bench/wan: namespaces, and
a process between two devices."""

import sys
from types import SimpleNamespace

import pytest
from server import ROOT

sys.path += [str(ROOT / "tests" / "bench"), str(ROOT / "tests" / "bench" / "wan")]
import network  # noqa: E402
import programs  # noqa: E402

# 25 ms one way, 10 Mbit/s, a buffer of 100 ms; nothing is lost.
PATH = SimpleNamespace(delay_ms=25, mbit=10, loss=0, loss_back=0, queue_bytes=128 << 10)
BYTES_PER_S = PATH.mbit * 1e6 / 8


class Bed:
    """A relay in the hub, `near` beside it and `far` behind the line, which send to each other."""

    def __init__(self, net, serve, **flags):
        self.net = net
        self.server = self.hub(
            lambda: serve(host=network.HUB, env={"TS_ALLOW_DEBUG_IP": network.HUB}, **flags)
        )
        self.near = self.hub(self.server.login)
        self.far = net.inside("far", self.server.login)

    def hub(self, function):
        return self.net.inside("hub", function)

    def metrics(self):
        return self.hub(self.server.metrics)


def lay(serve, tmp_path):
    """Yields what starts a server at the line's near end: a Bed of it."""
    reason = network.lacks()
    if reason:
        pytest.skip(f"NO LINE: {reason}")
    pathline = programs.c_program("pathline")
    with network.Allowed([network.CONGESTION]), network.Network() as net:
        line = network.Line(pathline, net, PATH, 1, str(tmp_path / "line.log"))
        try:
            net.join_line()
            yield lambda **flags: Bed(net, serve, **flags)
        finally:
            line.kill()
