package interop

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/derp/derpconst"
	"tailscale.com/types/key"
)

// leafHash is how a DERP map pins a self-signed certificate.
func (s *server) leafHash() string {
	sum := sha256.Sum256(s.chain[0].Raw)
	return hex.EncodeToString(sum[:])
}

func TestMetaCertificate(t *testing.T) {
	s := startTLS(t)
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			config := s.tlsConfig()
			config.MinVersion, config.MaxVersion = version, version
			conn := s.dialWith(t, config).(*tls.Conn)
			checkMetaCertificate(t, s, conn.ConnectionState().PeerCertificates)
		})
	}
}

func checkMetaCertificate(t *testing.T, s *server, chain []*x509.Certificate) {
	t.Helper()
	if len(chain) != 2 {
		t.Fatalf("chain of %d certificates, want the self-signed leaf and the meta certificate", len(chain))
	}
	meta := chain[1]
	if want := derpconst.MetaCertCommonNamePrefix + s.key.UntypedHexString(); meta.Subject.CommonName != want {
		t.Errorf("common name %q, want %q", meta.Subject.CommonName, want)
	}
	if meta.SerialNumber.Int64() != derp.ProtocolVersion {
		t.Errorf("serial number %v, want the protocol version %d", meta.SerialNumber, derp.ProtocolVersion)
	}
	public, ok := meta.PublicKey.(ed25519.PublicKey)
	if !ok {
		t.Fatalf("key of type %T, want Ed25519", meta.PublicKey)
	}
	if !ed25519.Verify(public, meta.RawTBSCertificate, meta.Signature) {
		t.Error("not signed by its own key")
	}
	if !meta.BasicConstraintsValid {
		t.Error("no basic constraints, which macOS demands")
	}
	if now := time.Now(); now.Before(meta.NotBefore) || now.After(meta.NotAfter) {
		t.Errorf("valid from %v to %v only", meta.NotBefore, meta.NotAfter)
	}
}

func TestTLSVariants(t *testing.T) {
	s := startTLS(t)
	for name, adjust := range map[string]func(*tls.Config){
		"1.2":                 func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 },
		"1.3":                 func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 },
		"1.2 AES-128-GCM":     only12(tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
		"1.2 AES-256-GCM":     only12(tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
		"1.2 ChaCha20":        only12(tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
		"X25519":              func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} },
		"X25519MLKEM768 wish": func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519MLKEM768, tls.X25519} },
		"P-256":               func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP256} },
		"ALPN":                func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} },
		"ALPN with h2":        func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} },
		"some SNI":            func(c *tls.Config) { c.ServerName, c.InsecureSkipVerify = "derp.example", true },
	} {
		t.Run(name, func(t *testing.T) {
			config := s.tlsConfig()
			adjust(config)
			conn := s.dialWith(t, config).(*tls.Conn)
			want := "" // nothing, unless asked
			if config.NextProtos != nil {
				want = "http/1.1"
			}
			if got := conn.ConnectionState().NegotiatedProtocol; got != want {
				t.Errorf("negotiated protocol %q, want %q", got, want)
			}
			p, other := upgrade(t, s, conn, "DERP").join(t), connect(t, s)
			exchange(t, p, other)
			echo(t, p, other, payload(1, 0, derp.MaxPacketSize))
		})
	}
}

// only12 restricts a client to one cipher suite, which Go allows for TLS 1.2 only.
func only12(suite uint16) func(*tls.Config) {
	return func(c *tls.Config) {
		c.MaxVersion = tls.VersionTLS12
		c.CipherSuites = []uint16{suite}
	}
}

// A client that keeps session tickets may offer one; whether the server takes it is its business.
func TestTLSSessionCache(t *testing.T) {
	s := startTLS(t)
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			config := s.tlsConfig()
			config.MaxVersion = version
			config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
			for range 3 {
				upgrade(t, s, s.dialWith(t, config), "DERP").join(t).sync(t)
			}
		})
	}
}

func TestTLS11IsRefused(t *testing.T) {
	s := startTLS(t)
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	config := s.tlsConfig()
	config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if err := tls.Client(conn, config).HandshakeContext(ctx); err == nil {
		t.Fatal("server speaks TLS 1.1")
	} else if ctx.Err() != nil {
		t.Fatal("server neither takes nor refuses TLS 1.1")
	}
}

// derphttp itself starts fast on TLS 1.3, and goes through the whole upgrade on TLS 1.2. A tap
// between the two shows which it did.
func TestDERPHTTPStartsFast(t *testing.T) {
	s := startTLS(t)
	t.Run("1.3", func(t *testing.T) {
		asked, answered := s.tapLogin(t, tls.VersionTLS13)
		if !strings.Contains(asked, "\r\n"+derp.FastStartHeader+": 1\r\n") {
			t.Errorf("derphttp did not ask for a fast start:\n%q", asked)
		}
		if !strings.HasPrefix(answered, string(rune(derp.FrameServerKey))) {
			t.Errorf("server did not begin with its ServerKey frame but with %.40q", answered)
		}
	})
	t.Run("1.2", func(t *testing.T) {
		asked, answered := s.tapLogin(t, tls.VersionTLS12)
		if strings.Contains(asked, derp.FastStartHeader) {
			t.Errorf("derphttp asked for a fast start:\n%q", asked)
		}
		if !strings.HasPrefix(answered, "HTTP/1.1 101 ") {
			t.Errorf("server did not answer 101 but %.40q", answered)
		}
	})
}

// tapLogin logs in through a tap and returns what client and server said in the clear.
func (s *server) tapLogin(t *testing.T, version uint16) (asked, answered string) {
	t.Helper()
	tap := newTap(t, s, version)
	private := key.NewNode()
	client := newDERPHTTP(t, s, private)
	client.TLSConfig = &tls.Config{RootCAs: tap.roots}
	client.SetURLDialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, tap.addr)
	})
	login(t, client, private).sync(t)
	return tap.fromClient.String(), tap.fromServer.String()
}

// A tap ends TLS towards one client, with the server's meta certificate behind a leaf of its own,
// and passes everything on to the server and back.
type tap struct {
	addr                   string
	roots                  *x509.CertPool
	fromClient, fromServer transcript
}

func newTap(t *testing.T, s *server, version uint16) *tap {
	t.Helper()
	certificate, leaf := selfSigned(t)
	certificate.Certificate = append(certificate.Certificate, s.chain[len(s.chain)-1].Raw)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{certificate},
		MaxVersion:   version,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	tp := &tap{addr: listener.Addr().String(), roots: x509.NewCertPool()}
	tp.roots.AddCert(leaf)
	toServer := s.dial(t)
	go func() {
		toClient, err := listener.Accept()
		if err != nil {
			return
		}
		defer toClient.Close()
		go io.Copy(toServer, io.TeeReader(toClient, &tp.fromClient))
		io.Copy(toClient, io.TeeReader(toServer, &tp.fromServer))
	}()
	return tp
}

// A transcript may be read while it is written.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *transcript) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *transcript) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.Certificate) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, leaf
}
