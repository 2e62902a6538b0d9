"""Starting, options, errors, limits, the end."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import time

import pytest

import derp
from server import BINARY, LOOPBACK, ORACLE, eventually, free_port


def run_binary(*arguments, env=None):
    return subprocess.run(
        [BINARY, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=derp.TIMEOUT,
        stdin=subprocess.DEVNULL,
        env=os.environ | (env or {}),
    )


def minimal(directory, *more):
    """The flags of a server that would start."""
    return [
        "-a",
        f"{LOOPBACK}:{free_port()}",
        "-http-port",
        "-1",
        "-stun=false",
        "-c",
        directory / "server.key",
        *more,
    ]


def expect_refusal(result, *words):
    """One clear line that names what is wrong, and exit status 1 or 2."""
    assert result.returncode in (1, 2)
    said = result.stderr
    for word in words:
        assert str(word) in said
    if not ORACLE:
        complaints = [
            line for line in said.splitlines() if not re.match(r"\S+Z (info|warn) ", line)
        ]
        assert len(complaints) == 1, said
        assert result.stdout == ""


# --- information ----------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["-version", "--version"])
def test_version(flag):
    result = run_binary(flag)
    assert result.returncode == 0
    assert any(char.isdigit() for char in result.stdout)
    assert result.stderr == ""


@pytest.mark.parametrize("flag", ["--help", "-help", "-h"])
def test_help(flag):
    result = run_binary(flag)
    text = result.stdout + result.stderr
    assert result.returncode == 0
    for name in ("-a", "-certmode", "-hostname", "-stun-port", "-tcp-write-timeout", "-http-port"):
        assert name in text


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flag, named",
    [
        ("-no-such-flag", "no-such-flag"),
        ("--also-not=3", "also-not"),
        ("-http-port=many", "http-port"),
        ("-stun=perhaps", "stun"),
        ("-stun-port=70000x", "stun-port"),
        ("-tcp-write-timeout=2", "tcp-write-timeout"),
        ("-tcp-write-timeout=soon", "tcp-write-timeout"),
        ("-home=gopher", "home"),
        ("-a=nonsense", "nonsense"),
        ("-a=127.0.0.1:notaport", "notaport"),
    ],
)
def test_bad_flags(tmp_path, flag, named):
    certificate = ["-certdir", tmp_path, "-hostname", LOOPBACK]
    expect_refusal(run_binary(*minimal(tmp_path, *certificate, "-certmode", "manual", flag)), named)


@pytest.mark.ours
@pytest.mark.parametrize(
    "flag, named",
    [
        ("-certmode=magic", "magic"),
        ("-workers=none", "workers"),
        ("-workers=-1", "workers"),
        ("-flow-limit=few", "flow-limit"),
        ("-log-level=chatty", "log-level"),
        ("-stun-port=70000", "stun-port"),
        ("-debug-listen=nowhere", "debug-listen"),
        ("left-over", "left-over"),
    ],
)
def test_our_bad_flags(tmp_path, flag, named):
    expect_refusal(run_binary(*minimal(tmp_path, flag)), named)


def test_flag_without_its_value(tmp_path):
    expect_refusal(run_binary(*minimal(tmp_path), "-hostname"), "hostname")


def test_port_in_use(tmp_path):
    with socket.create_server((LOOPBACK, free_port())) as taken:
        port = taken.getsockname()[1]
        flags = [*minimal(tmp_path), "-a", f"{LOOPBACK}:{port}"]
        expect_refusal(run_binary(*flags), port, "in use")


def test_missing_certificate(tmp_path):
    """Only for an IP address one is made on the fly."""
    flags = minimal(
        tmp_path, "-certmode", "manual", "-hostname", "derp.example.com", "-certdir", tmp_path
    )
    expect_refusal(run_binary(*flags), "derp.example.com.crt")


def test_certificate_for_another_name(serve, tmp_path):
    server = serve()
    for ending in ("crt", "key"):
        (tmp_path / f"derp.example.com.{ending}").write_bytes(
            (server.directory / f"{LOOPBACK}.{ending}").read_bytes()
        )
    flags = minimal(
        tmp_path, "-certmode", "manual", "-hostname", "derp.example.com", "-certdir", tmp_path
    )
    expect_refusal(run_binary(*flags), "derp.example.com")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "rubbish",
        '{"PrivateKey":"privkey:12"}',
        '{"PrivateKey":"privkey:%s"}' % ("x" * 64),
    ],
)
def test_broken_key_file(tmp_path, content):
    if ORACLE and content == "{}":
        pytest.skip("derper starts with a zero key")
    (tmp_path / "server.key").write_text(content)
    result = run_binary(*minimal(tmp_path))
    expect_refusal(result, "" if ORACLE else "server.key")


# --- starting -------------------------------------------------------------------------------------


def test_key_file_is_made_and_kept_private(serve):
    server = serve(tls=False)
    path = server.directory / "server.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kind, _, digits = json.loads(path.read_text())["PrivateKey"].partition(":")
    assert kind == "privkey"
    private = derp.PrivateKey(bytes.fromhex(digits))
    assert server.login().server_key == bytes(private.public_key)


def test_self_signed_certificate_is_kept(serve):
    server = serve()
    key = server.directory / f"{LOOPBACK}.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    first = server.connect().sock.getpeercert(binary_form=True)
    server.stop()
    again = serve(certdir=server.directory)
    assert again.connect().sock.getpeercert(binary_form=True) == first


def test_flag_forms(tmp_path):
    """-name value, --name value, -name=value; booleans alone; the last one wins."""
    port = free_port()
    flags = [
        "--a",
        f"{LOOPBACK}:{free_port()}",
        f"-a={LOOPBACK}:{port}",
        "--http-port=-1",
        "-c",
        tmp_path / "server.key",
        "-derp",
        "-stun=f",
        "-hostname",
        LOOPBACK,
    ]
    process = subprocess.Popen(
        [BINARY, *map(str, flags)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        eventually(lambda: connects((LOOPBACK, port)))
    finally:
        process.terminate()
        assert process.wait(derp.TIMEOUT) == 0


def connects(address):
    try:
        derp.dial(address).close()
    except OSError as e:
        raise AssertionError(str(e)) from e


@pytest.mark.ours
def test_environment(serve, tmp_path):
    """Container images' names, our own, and flags above both."""
    port = free_port()
    env = {
        "DERP_DOMAIN": LOOPBACK,
        "DERP_CERT_MODE": "manual",
        "DERP_CERT_DIR": str(tmp_path),
        "DERP_HTTP_PORT": str(port),
        "SLUICE_HOME": "blank",
        "SLUICE_WORKERS": "1",
    }
    unset = dict.fromkeys(("certmode", "hostname", "certdir", "http-port"))
    server = serve(env=env, **unset)
    assert (tmp_path / f"{LOOPBACK}.crt").exists()
    assert server.get("/").body == b""
    connects((LOOPBACK, port))


@pytest.mark.ours
def test_bad_environment(tmp_path):
    expect_refusal(run_binary(*minimal(tmp_path), env={"SLUICE_WORKERS": "lots"}), "SLUICE_WORKERS")


def test_plain_http_without_manual_certificate(plain):
    conn = plain.connect(tls=False)
    conn.send(derp.http_request("GET", "/derp/probe"))
    assert derp.read_response_head(conn).status == 200


# --- the log --------------------------------------------------------------------------------------


@pytest.mark.ours
def test_connect_and_disconnect_are_logged(plain):
    """Key, address and, in the end, the reason."""
    client, bad = plain.login(), plain.login()
    names = (derp.short_key(client.key), derp.node_key(client.key))
    address = client.conn.local_address
    client.send_packet(client.key, bytes(1234))
    client.recv_packet()
    client.close()
    bad.send_frame(derp.PING, b"")

    def check():
        lines = [line for line in plain.log.splitlines() if address in line]
        assert len(lines) == 2
        assert all(any(name in line for name in names) for line in lines)
        assert "client_closed" in lines[1] and "1234" in lines[1]
        assert [
            line
            for line in plain.log.splitlines()
            if bad.conn.local_address in line and "protocol_error" in line
        ]

    eventually(check)


@pytest.mark.ours
def test_many_disconnects_are_folded(plain):
    clients = [plain.login("fast") for _ in range(300)]
    for client in clients:
        client.close()
    plain.expect({"derp_current_connections": 0})
    assert len(plain.log.splitlines()) < 400, "a line for each of 600 events"


# --- the end --------------------------------------------------------------------------------------


@pytest.mark.subset
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_end_with_connections_at_every_stage(serve, signal_number):
    """`stop` asserts exit status and time."""
    server = serve(stun="true", stun_port=free_port(socket.SOCK_DGRAM))
    idle, browser = server.login(), server.login("websocket")
    sender, stalled = server.login(), server.login(rcvbuf=32768)
    sender.send(derp.send_packet_frame(stalled.key, bytes(60000)) * 150)
    sender.send_frame(derp.SEND_PACKET, b"half a frame", 5000)
    raw = server.connect(tls=False)
    raw.send(b"\x16\x03\x01\x02\x00\x01")  # half a TLS hello
    server.connect().send(b"GET /derp HT")
    server.open()
    server.stop(signal_number)
    for client in (idle, browser):
        client.conn.read_to_end()
    with pytest.raises(ConnectionRefusedError):
        derp.dial(server.address)


def test_port_is_free_at_once(serve):
    """A restart on the same port works although connections of the first are still closing."""
    first = serve(tls=False)
    first.login()
    first.stop()
    serve(tls=False, port=first.address[1]).login()


# --- file descriptors -----------------------------------------------------------------------------


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.ours
def test_out_of_descriptors(serve):
    """Accepting pauses without spinning, is logged once, and goes on when there is room again."""
    server = serve(tls=False, nofile=(64, 64))
    client = server.login()
    crowd = [server.connect() for _ in range(120)]
    eventually(lambda: check_logged(server, "cannot accept connections"))
    before, lines = cpu_seconds(server.process.pid), len(server.log.splitlines())
    for _ in range(10):
        time.sleep(0.1)
        client.sync()
    assert cpu_seconds(server.process.pid) - before < 0.3 * derp.SCALE, "it spins"
    assert len(server.log.splitlines()) - lines <= 1
    for conn in crowd:
        conn.close()
    server.expect_unharmed()


def check_logged(server, text):
    assert text in server.log


@pytest.mark.ours
def test_limit_of_descriptors_is_raised(serve):
    """The soft limit is only a default; the hard one is what the administrator allows."""
    server = serve(tls=False, nofile=(256, 512))
    with open(f"/proc/{server.process.pid}/limits") as f:
        line = next(line for line in f if line.startswith("Max open files"))
    assert line.split()[3:5] == ["512", "512"]


def check_listens(port):
    with socket.socket() as probe:
        assert probe.connect_ex((LOOPBACK, port)) == 0


@pytest.mark.ours
def test_nobody_reads_the_log(tmp_path):
    """A full pipe loses lines, and stops neither the relay nor its end."""
    port = free_port()
    flags = ["-a", f"{LOOPBACK}:{port}", "-http-port=-1", "-stun=false", "-log-level=debug"]
    process = subprocess.Popen(
        [BINARY, *flags, "-c", tmp_path / "server.key"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        eventually(lambda: check_listens(port))
        for _ in range(3000):  # a line each, more than a pipe holds
            socket.create_connection((LOOPBACK, port)).close()
        process.terminate()
        assert process.wait(5 * derp.SCALE) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
