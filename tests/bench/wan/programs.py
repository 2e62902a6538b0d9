# SPDX-License-Identifier: BSD-3-Clause
"""Builds what the test bed runs, into build/wan: the line, the traffic, the clients, their control
server. What is there and newer than its sources is left alone."""

import os
import subprocess
import sys

import servers

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(servers.ROOT, "build", "wan")
C_FLAGS = ["-std=gnu17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
# What has no part in carrying packets is left out of tailscaled: it halves the time of the build.
OMIT = """ace acme appconnectors aws bird captiveportal capture clientupdate cloud completion conn25
    dbus doctor drive flashappliance identityfederation kube linuxdnsfight networkmanager oauthkey
    posture qrcodes relayserver resolved serve ssh synology syspolicy systray taildrop tailnetlock tap
    tpm wakeonlan webbrowser webclient""".split()
# One binary is daemon and command line.
TAGS = ",".join(["ts_include_cli", *(f"ts_omit_{feature}" for feature in OMIT)])


def _older(out, sources):
    if not os.path.exists(out):
        return True
    made = os.stat(out).st_mtime
    return any(os.stat(os.path.join(HERE, s)).st_mtime > made for s in sources)


def _run(command, out):
    new = f"{out}.{os.getpid()}"
    os.makedirs(OUT, exist_ok=True)
    try:
        done = subprocess.run([*command[:-1], "-o", new, command[-1]], cwd=HERE,
                              env=dict(os.environ, GOTOOLCHAIN="local"), capture_output=True,
                              text=True)
        if done.returncode != 0:
            raise servers.Failed(f"{os.path.basename(out)}: {done.stderr.rstrip()}")
        os.utime(new)
        os.replace(new, out)
    finally:
        if os.path.exists(new):
            os.unlink(new)


def c_program(name):
    out = os.path.join(OUT, name)
    if _older(out, [f"{name}.c", "netns.h"]):
        _run(["cc", *C_FLAGS, f"{name}.c"], out)
    return out


def go_program(name):
    out = os.path.join(OUT, name)
    if _older(out, [f"{name}/main.go", "go.mod", "go.sum"]):
        _run(["go", "build", "-trimpath", f"./{name}"], out)
    return out


def tailscaled():
    out = os.path.join(OUT, "tailscaled")
    if _older(out, ["go.mod", "go.sum", "programs.py"]):
        print("building tailscaled: a minute or two, the first time", file=sys.stderr, flush=True)
        _run(["go", "build", "-trimpath", "-tags", TAGS, "tailscale.com/cmd/tailscaled"], out)
    return out


class Programs:
    """Paths of all that one kind of client needs."""

    def __init__(self, client):
        self.pathline, self.traffic = c_program("pathline"), c_program("traffic")
        self.control = self.tailscaled = self.inner = None
        if client == "inner":
            self.inner = go_program("inner")
        elif client:
            self.control, self.tailscaled = go_program("control"), tailscaled()
