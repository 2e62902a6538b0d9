package interop

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tailscale.com/types/key"
)

// A server is one process, of the binary under test unless it says otherwise, listening on a
// loopback port of its own.
type server struct {
	addr string
	key  key.NodePublic // from its key file
	home string         // its private directory

	// What only nodes of a region set.
	derper bool     // upstream's, which stands beside the one under test
	fixed  bool     // addr was chosen before the start, because others know it
	flags  []string // besides the usual
	env    []string

	// Over TLS only: the chain it presents, and a pool that trusts its self-signed leaf.
	chain []*x509.Certificate
	roots *x509.CertPool

	cmd     *exec.Cmd
	stopped bool          // ended by the test, as it should
	exited  chan struct{} // closed once the process has ended
	exitErr error         // how; read only after exited
}

func (s *server) overTLS() bool   { return s.roots != nil }
func (s *server) keyFile() string { return filepath.Join(s.home, "derper.key") }
func (s *server) logFile() string { return filepath.Join(s.home, "log") }

// onBoth runs a test twice, each time against a fresh server: over TLS and over plain HTTP.
func onBoth(t *testing.T, test func(t *testing.T, s *server)) {
	t.Run("tls", func(t *testing.T) { test(t, startTLS(t)) })
	t.Run("plain", func(t *testing.T) { test(t, startPlain(t)) })
}

// onBothParallel is onBoth for tests that spend their time waiting.
func onBothParallel(t *testing.T, test func(t *testing.T, s *server)) {
	t.Parallel()
	t.Run("tls", func(t *testing.T) { t.Parallel(); test(t, startTLS(t)) })
	t.Run("plain", func(t *testing.T) { t.Parallel(); test(t, startPlain(t)) })
}

// startTLS starts a server with a self-signed certificate for its IP address.
func startTLS(t *testing.T) *server {
	t.Helper()
	s := &server{home: t.TempDir(), roots: x509.NewCertPool()}
	s.start(t, "-certmode", "manual", "-certdir", filepath.Join(s.home, "certs"))
	return s
}

// startPlain starts a server without TLS, which is what any port but 443 gives in the default
// certificate mode.
func startPlain(t *testing.T) *server {
	t.Helper()
	s := &server{home: t.TempDir()}
	s.start(t)
	return s
}

// start runs the server until the test ends. A chosen port may be taken by someone else before the
// server binds it, hence the attempts.
func (s *server) start(t *testing.T, flags ...string) {
	t.Helper()
	var err error
	for range 3 {
		if err = s.launch(flags); err == nil {
			break
		}
		t.Logf("server did not start: %v\n%s", err, s.logTail())
	}
	if err != nil {
		t.FailNow()
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("server log:\n%s", s.logTail())
		}
	})
	s.meet(t)
}

// meet waits until the server answers, which may be after it accepts, and learns who it is.
func (s *server) meet(t *testing.T) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: deadline}
	response, err := client.Get(s.url("/derp/probe"))
	if err != nil {
		t.Fatal("server does not answer: ", err)
	}
	response.Body.Close()
	if response.TLS != nil {
		s.chain = response.TLS.PeerCertificates
		s.roots.AddCert(s.chain[0])
	}
	if s.key, err = readKeyFile(s.keyFile()); err != nil {
		t.Fatal(err)
	}
}

func (s *server) launch(flags []string) error {
	if !s.fixed {
		port, err := freePort()
		if err != nil {
			return err
		}
		s.addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	args := []string{"-a", s.addr, "-hostname", "127.0.0.1", "-c", s.keyFile(), "-http-port", "-1", "-stun=false"}
	args = append(args, flags...)
	binary := derperBinary
	if !s.derper {
		binary = serverBinary
		args = append(args, serverFlags...)
	}

	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(binary, args...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	// Its own home, so that no key or configuration of this machine leaks in.
	s.cmd.Env = append(append(os.Environ(), "HOME="+s.home), s.env...)
	// Should the tests be killed, the server goes too.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.stopped, s.exited = false, make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		s.exitErr = cmd.Wait()
		close(exited)
	}(s.cmd, s.exited)
	if err := s.awaitListener(); err != nil {
		return errors.Join(err, s.stop())
	}
	return nil
}

// awaitListener returns once the server accepts connections.
func (s *server) awaitListener() error {
	for end := time.Now().Add(deadline); time.Now().Before(end); {
		if conn, err := net.Dial("tcp", s.addr); err == nil {
			return conn.Close()
		}
		select {
		case <-s.exited:
			return fmt.Errorf("server ended at once: %v", s.exitErr)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return fmt.Errorf("server is not listening on %s after %v", s.addr, deadline)
}

// stop sends SIGTERM and wants a clean exit: a crash, a sanitizer's report or a hang is an error.
func (s *server) stop() error {
	if s.stopped {
		return nil
	}
	s.stopped = true
	select {
	case <-s.exited:
		return fmt.Errorf("server ended before it was told to: %v", s.exitErr)
	default:
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-s.exited:
		if s.exitErr != nil {
			return fmt.Errorf("server ended badly on SIGTERM: %v", s.exitErr)
		}
		return nil
	case <-time.After(s.exitLimit()):
		s.cmd.Process.Kill()
		<-s.exited
		return fmt.Errorf("server still running %v after SIGTERM", s.exitLimit())
	}
}

// restart ends the server and starts it anew with the same key file.
func (s *server) restart(t *testing.T, flags ...string) {
	t.Helper()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.launch(flags); err != nil {
		t.Fatal(err)
	}
}

// exitLimit is how long a server may take to end. Sluice promises two seconds; derper nothing.
func (s *server) exitLimit() time.Duration {
	if onOracle || s.derper {
		return deadline
	}
	return 2 * time.Second
}

// logTail is the end of the server's log, enough for a sanitizer's report.
func (s *server) logTail() string {
	const limit = 8 << 10
	log, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-limit):])
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// readKeyFile reads a key file in upstream's format and returns the public key.
func readKeyFile(path string) (key.NodePublic, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return key.NodePublic{}, err
	}
	var file struct{ PrivateKey key.NodePrivate }
	if err := json.Unmarshal(text, &file); err != nil {
		return key.NodePublic{}, fmt.Errorf("%s: %w", path, err)
	}
	return file.PrivateKey.Public(), nil
}

func (s *server) port() int {
	return int(netip.MustParseAddrPort(s.addr).Port())
}

// url is the address of a page.
func (s *server) url(path string) string {
	scheme := "http"
	if s.overTLS() {
		scheme = "https"
	}
	return scheme + "://" + s.addr + path
}

// tlsConfig trusts the server, or is nil where there is no TLS.
func (s *server) tlsConfig() *tls.Config {
	if !s.overTLS() {
		return nil
	}
	return &tls.Config{RootCAs: s.roots, ServerName: "127.0.0.1"}
}

// dial opens a connection that is ready to speak HTTP.
func (s *server) dial(t *testing.T) net.Conn {
	t.Helper()
	return s.dialWith(t, s.tlsConfig())
}

// dialWith is dial with a TLS configuration of the test's own; nil means plain TCP.
func (s *server) dialWith(t *testing.T, config *tls.Config) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if config == nil {
		return conn
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		t.Fatal("TLS handshake: ", err)
	}
	return secured
}

// httpClient speaks HTTP/1.1 to the server, keeps connections alive and follows no redirect.
func (s *server) httpClient(t *testing.T) *http.Client {
	transport := &http.Transport{TLSClientConfig: s.tlsConfig(), DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		Timeout:       deadline,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// metric reads one value of /debug/varz, without its derp_ prefix.
func (s *server) metric(t *testing.T, name string) float64 {
	t.Helper()
	resp, err := s.httpClient(t).Get(s.url("/debug/varz"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		label, text, _ := strings.Cut(lines.Text(), " ")
		if label != "derp_"+name {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatalf("metric %s: %v", name, err)
		}
		return value
	}
	t.Fatalf("no metric derp_%s on /debug/varz (status %s)", name, resp.Status)
	return 0
}
