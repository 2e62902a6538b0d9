# SPDX-License-Identifier: BSD-3-Clause
"""What is done to a tunnel and what is read from it: idle, down, up, both, fair, rival, rival-up, start."""

import json
import math
import subprocess
import time
from dataclasses import dataclass

import network
from servers import Failed

IDLE_S, WARM_S, MEASURED_S = 5, 3, 8
# Where slow start takes long: what the first seconds are worth, and what comes of it in the end.
LONG_DELAY_MS, LONG_S, LATE_S = 75, 20, 15
START_S = 20
QUICK_S, QUICK_WARM_S = 2, 0.5
LATE_PROBES_MS, QUICK_LATE_PROBES_MS = 3000, 1000
BUSY = 0.95
CONNECT_S = 20


@dataclass
class Phase:
    title: str
    flows: list   # from, to
    probes: list  # from; all go to far
    bursts: bool = False
    rival: tuple = ()  # from, to: a TCP on the same line, past the relay


PHASES = {
    "idle": Phase("idle", [], ["near1"]),
    "down": Phase("down: one TCP from near1 to far", [("near1", "far")], ["near1"]),
    "up": Phase("up: one TCP from far to near1", [("far", "near1")], ["near1"]),
    "both": Phase("both: one TCP each way between near1 and far",
                  [("near1", "far"), ("far", "near1")], ["near1"]),
    "fair": Phase("fair: near1 and near2 to far; near3 only asks now and then",
                  [("near1", "far"), ("near2", "far")], ["near3", "near1"]),
    "rival": Phase("rival: near1 to far, and beside it a TCP past the relay",
                   [("near1", "far")], ["near1"], rival=("near2", "far")),
    "rival-up": Phase("rival-up: far to near1, and beside it a TCP past the relay",
                      [("far", "near1")], ["near1"], rival=("far", "near2")),
    "start": Phase("start: near1 sends 300 KB to far, and again three seconds after it is there",
                   # Probes would keep the connections from falling idle.
                   [("near1", "far")], [], bursts=True),
}


def percentile(values, share):
    """Of all, the lost (None) being the longest: None when it is one of them."""
    ordered = sorted(math.inf if v is None else v for v in values)
    if not ordered:
        return None
    v = ordered[max(0, math.ceil(share * len(ordered)) - 1)]
    return None if math.isinf(v) else v


def jain(values):
    squares = sum(v * v for v in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 0


def mbit(flow, since_s, until_s):
    bins = flow["bytes"][round(since_s * 1000 / flow["bin_ms"]):
                         round(until_s * 1000 / flow["bin_ms"])]
    return sum(bins) * 8 / 1e6 / (until_s - since_s)


def cpu_ticks():
    """Busy and all, of all cores."""
    with open("/proc/stat") as f:
        fields = [int(v) for v in f.readline().split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)


class Bench:
    """One relay on one path with its nodes: what the phases are run on."""

    def __init__(self, options, programs, net, line, relay, nodes):
        self.options, self.programs, self.net = options, programs, net
        self.line, self.relay, self.nodes = line, relay, nodes

    def _traffic(self, args, seconds=None):
        """Runs it; returns its report and the share of CPU that was busy meanwhile."""
        process = subprocess.Popen([self.programs.traffic, *args], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   start_new_session=True)
        try:
            busy, whole = cpu_ticks()
            if seconds:
                time.sleep(seconds)
            now_busy, now_whole = cpu_ticks()
            out, error = process.communicate(timeout=60)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        if process.returncode != 0:
            raise Failed(f"traffic: {error.rstrip()}")
        return json.loads(out), (now_busy - busy) / max(1, now_whole - whole)

    def _spec(self, name, source, to, *more):
        return ",".join([name, self.net.netns(source), self.net.netns(to), self.nodes.address[to],
                         *more])

    def _direct(self, name, source, to):
        """By the line itself."""
        return ",".join([name, self.net.netns(source), self.net.netns(to), network.address(to)])

    def connected(self):
        """Waits until every node that matters reaches the other end."""
        pairs = [("near1", "far"), ("near2", "far"), ("near3", "far"), ("far", "near1")]
        args = ["-t", "0.4", "-a", "1000"]
        for source, to in pairs:
            args += ["-p", self._spec(f"{source}-{to}", source, to)]
        until = time.monotonic() + CONNECT_S
        while time.monotonic() < until:
            self.relay.check()
            report, _ = self._traffic(args)
            if all(any(v is not None for v in probe) for probe in report["probes"].values()):
                return
        silent = [n for n, p in report["probes"].items() if all(v is None for v in p)]
        raise Failed(f"nothing comes through in {CONNECT_S} s: {', '.join(silent)}")

    def _renew(self):
        """New connections to the relay, so that TCP there begins anew."""
        before = self.relay.varz().get("derp_accepts")
        self.nodes.renew()
        until = time.monotonic() + CONNECT_S
        while before is not None and \
                self.relay.varz()["derp_accepts"] < before + len(self.nodes.address):
            if time.monotonic() > until:
                raise Failed("the nodes do not come back to the relay")
            time.sleep(0.1)
        self.connected()

    def run(self, name, path):
        phase, quick = PHASES[name], self.options.quick
        warm = QUICK_WARM_S if quick else WARM_S
        measured = self.options.seconds or (QUICK_S if quick else MEASURED_S)
        seconds = warm + measured
        if not phase.flows:
            seconds = self.options.seconds or (QUICK_S if quick else IDLE_S)
        elif phase.bursts:
            seconds = self.options.seconds or (QUICK_S if quick else START_S)
        elif name == "down" and (self.options.long or path.delay_ms >= LONG_DELAY_MS):
            seconds = max(seconds, LONG_S)
        if phase.flows:
            self._renew()
        self.line.counts()
        before = self.relay.varz()
        args = ["-t", str(seconds), "-a",
                str(QUICK_LATE_PROBES_MS if quick else LATE_PROBES_MS + 4 * path.delay_ms)]
        for source, to in phase.flows:
            args += ["-b" if phase.bursts else "-f",
                     self._spec(f"{source}-{to}", source, to, self.options.inner_congestion)]
        for source in phase.probes:
            args += ["-p", self._spec(source, source, "far")]
        if phase.rival:
            self.net.forward(True)
            args += ["-f", self._direct("rival", *phase.rival)]
        try:
            report, busy = self._traffic(args, seconds)
        finally:
            if phase.rival:
                self.net.forward(self.relay.forwards)
        self.relay.check()
        after = self.relay.varz()
        return {**figures(report, warm, measured, phase), "cpu_busy": busy, "cpu_bound": busy >= BUSY,
                "line": self.line.counts(), "raw": report,
                "relay": {n: v - before.get(n, 0) for n, v in after.items()
                          if v != before.get(n, 0)}}


def figures(report, warm, measured, phase):
    """What tables show."""
    out, flows = {"probes": {}}, report["flows"]
    for name, probe in report["probes"].items():
        out["probes"][name] = {
            "sent": len(probe), "lost": sum(v is None for v in probe),
            "p50_ms": percentile(probe, 0.5), "p95_ms": percentile(probe, 0.95)}
    if not flows:
        return out
    out["errors"] = [f"{n}: {f['error']}" for n, f in flows.items() if f["error"]]
    out["retransmits"] = sum(f["retransmits"] for f in flows.values())
    if phase.bursts:
        took, = (f["bursts_ms"] for f in flows.values())
        out["first_ms"] = took[0] if took else None
        if took[1:]:
            out["again_ms"] = percentile(took[1:], 0.5)
        return out
    each = {n: mbit(f, warm, warm + measured) for n, f in flows.items()}
    if phase.rival:
        out["rival_mbit"] = each.pop("rival")
        flows = {n: f for n, f in flows.items() if n in each}
    out["goodput_mbit"], out["flows_mbit"] = sum(each.values()), each
    out["first_mbit"] = sum(mbit(f, 0, warm + measured) for f in flows.values())
    if report["seconds"] >= LONG_S:
        out["late_mbit"] = sum(mbit(f, LATE_S, LONG_S) for f in flows.values())
    if len(flows) > 1:
        out["jain"] = jain(list(each.values()))
    return out
