package interop

import (
	"bytes"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go4.org/mem"
	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

func publicKey(raw []byte) key.NodePublic { return key.NodePublicFromRaw32(mem.B(raw)) }

func TestLogin(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		for range 3 {
			private := key.NewNode()
			client := newDERPHTTP(t, s, private)
			p := login(t, client, private)
			p.sync(t)
			if got := client.ServerPublicKey(); got != s.key {
				t.Fatalf("server calls itself %v, its key file says %v", got, s.key)
			}
		}
	})
}

// Whatever a client says of itself, it is welcome.
func TestLoginWithEveryClientInfo(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		private := key.NewNode()
		client := newDERPHTTP(t, s, private)
		client.IsProber = true
		client.AppName = "interop"
		client.MeshKey = wrongMeshKey(t) // this server has none: just a client then
		client.SetCanAckPings(true)
		exchange(t, login(t, client, private), connect(t, s))
	})
}

func wrongMeshKey(t *testing.T) key.DERPMesh {
	t.Helper()
	k, err := key.ParseDERPMesh(strings.Repeat("0123456789abcdef", 4))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A region client trusts a self-signed certificate by its hash, which also demands a chain of just
// the leaf and the meta certificate; and it says when it is not on its region's first node.
func TestRegionClient(t *testing.T) {
	s := startTLS(t)
	port := s.port()
	unused, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	node := func(name string, port int) *tailcfg.DERPNode {
		return &tailcfg.DERPNode{
			Name: name, RegionID: 900, HostName: "127.0.0.1", IPv4: "127.0.0.1", IPv6: "none",
			DERPPort: port, CertName: "sha256-raw:" + s.leafHash(),
		}
	}
	t.Run("first node", func(t *testing.T) {
		loginToRegion(t, node("900a", port)).sync(t)
		if got := s.metric(t, "current_notideal_connections"); got != 0 {
			t.Fatalf("%v connections not ideal, want 0", got)
		}
	})
	t.Run("second node", func(t *testing.T) {
		loginToRegion(t, node("900a", unused), node("900b", port)).sync(t)
		if got := s.metric(t, "current_notideal_connections"); got != 1 {
			t.Fatalf("%v connections not ideal, want 1", got)
		}
	})
}

func loginToRegion(t *testing.T, nodes ...*tailcfg.DERPNode) *peer {
	t.Helper()
	private := key.NewNode()
	region := func() *tailcfg.DERPRegion {
		return &tailcfg.DERPRegion{RegionID: 900, RegionCode: "interop", Nodes: nodes}
	}
	client := derphttp.NewRegionClient(private, logger.Discard, netmon.NewStatic(), region)
	t.Cleanup(func() { client.Close() })
	return login(t, client, private)
}

func TestKeyFileOutlivesServer(t *testing.T) {
	s := startPlain(t)
	info, err := os.Stat(s.keyFile())
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("key file made with mode %o, want 600", mode)
	}
	before := s.key
	s.restart(t)
	p := open(t, s)
	p.greet(t)
	if p.server != before {
		t.Fatalf("key changed from %v to %v over a restart", before, p.server)
	}
}

// With a fast start nothing but DERP comes back, and all of the client's login, even its first
// packet, may come in one flight.
func TestFastStartInOneFlight(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		conn := &corkedConn{Conn: s.dial(t)}
		st := newStream(conn)
		startFast(t, s, st)
		private := key.NewNode()
		client, err := derp.NewClient(private, conn, st.ReadWriter, logger.Discard, derp.ServerPublicKey(s.key))
		if err != nil {
			t.Fatal(err)
		}
		client.Send(private.Public(), []byte("same flight"))
		conn.uncork(t)
		st.greet(t)
		if st.server != s.key {
			t.Fatalf("greeted by %v, want %v", st.server, s.key)
		}
		p := adopt(t, client, private, conn.Close)
		p.wantPacket(t, p.key, []byte("same flight"))
	})
}

// startFast writes the upgrade request of a client that wants no HTTP answer.
func startFast(t *testing.T, s *server, st *stream) {
	t.Helper()
	request := upgradeRequest(t, s, "DERP")
	request.Header.Set(derp.FastStartHeader, "1")
	if err := request.Write(st); err != nil {
		t.Fatal(err)
	}
	if err := st.Flush(); err != nil {
		t.Fatal(err)
	}
}

// A client may send before it has seen ServerInfo.
func TestPacketBehindClientInfo(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		to := connect(t, s)
		private := key.NewNode()
		st := open(t, s)
		client, err := derp.NewClient(private, st.Conn, st.ReadWriter, logger.Discard)
		if err != nil {
			t.Fatal(err)
		}
		client.Send(to.key, []byte("impatient"))
		to.wantPacket(t, private.Public(), []byte("impatient"))
		adopt(t, client, private, st.Conn.Close)
	})
}

// Every piece of the login one byte at a time, each in a TLS record or segment of its own.
func TestLoginByteByByte(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		st := upgrade(t, s, &choppedConn{Conn: s.dial(t), sizes: []int{1}}, "DERP")
		exchange(t, st.join(t), connect(t, s))
	})
}

// ServerInfo comes first even when packets for the key are already pouring in.
func TestServerInfoAheadOfPackets(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		private := key.NewNode()
		from := connect(t, s)
		stop := make(chan struct{})
		stopped := make(chan error)
		go func() {
			var err error
			for err == nil {
				select {
				case <-stop:
					stopped <- nil
					return
				default:
					err = from.Send(private.Public(), []byte("early"))
				}
			}
			stopped <- err
		}()
		for range 15 {
			p := connectAs(t, s, private) // fails unless ServerInfo is first
			p.wantPacket(t, from.key, []byte("early"))
			p.close()
		}
		close(stop)
		if err := <-stopped; err != nil {
			t.Fatal("sender: ", err)
		}
	})
}

// maxClientInfo is the largest ClientInfo payload a server takes.
const maxClientInfo = 256 << 10

func TestLargestClientInfo(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		private := key.NewNode()
		st := open(t, s)
		st.identify(t, clientInfo(private, s.key, maxClientInfo))
	})
}

// clientInfo makes a ClientInfo payload and pads its JSON to make it size bytes long.
func clientInfo(private key.NodePrivate, server key.NodePublic, size int) []byte {
	const (
		text    = `{"version":2,"CanAckPings":true}`
		sealing = derp.KeyLen + derp.NonceLen + 16 // key, nonce, authenticator
	)
	return sealInfo(private, server, text+strings.Repeat(" ", max(0, size-sealing-len(text))))
}

// sealInfo makes a ClientInfo payload of any text.
func sealInfo(private key.NodePrivate, server key.NodePublic, text string) []byte {
	return append(private.Public().AppendTo(nil), private.SealTo(server, []byte(text))...)
}

func TestBadLogins(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		private := key.NewNode()
		good := clientInfo(private, s.key, 0)
		forged := bytes.Clone(good)
		forged[len(forged)-1] ^= 1
		stolen := append(key.NewNode().Public().AppendTo(nil), good[derp.KeyLen:]...)
		noKey := append(make([]byte, derp.KeyLen), good[derp.KeyLen:]...)
		for _, bad := range []struct {
			name    string
			kind    derp.FrameType
			payload []byte
		}{
			{"forged box", derp.FrameClientInfo, forged},
			{"another key's box", derp.FrameClientInfo, stolen},
			{"not JSON", derp.FrameClientInfo, sealInfo(private, s.key, "version 2")},
			{"bad mesh key", derp.FrameClientInfo, sealInfo(private, s.key, `{"meshKey":"short"}`)},
			{"all-zero key", derp.FrameClientInfo, noKey},
			{"too short", derp.FrameClientInfo, good[:55]},
			{"too long", derp.FrameClientInfo, clientInfo(private, s.key, maxClientInfo+1)},
			{"another frame first", derp.FramePing, make([]byte, 8)},
		} {
			t.Run(bad.name, func(t *testing.T) {
				st := open(t, s)
				st.greet(t)
				st.writeFrame(bad.kind, bad.payload)
				st.wantClosed(t)
			})
		}
		exchange(t, connect(t, s), connect(t, s)) // the server lives on
	})
}

// A client that never says who it is loses its place within about ten seconds.
func TestLoginTimeout(t *testing.T) {
	onBothParallel(t, func(t *testing.T, s *server) {
		st := open(t, s)
		st.greet(t)
		begin := time.Now()
		st.wantClosed(t)
		if took := time.Since(begin); took < 5*time.Second {
			t.Fatalf("closed after %v, want about 10 s", took)
		}
	})
}

// A corkedConn holds back what is written until it is uncorked, then sends it in one go.
type corkedConn struct {
	net.Conn
	held   bytes.Buffer
	flowed bool
}

func (c *corkedConn) Write(b []byte) (int, error) {
	if c.flowed {
		return c.Conn.Write(b)
	}
	return c.held.Write(b)
}

func (c *corkedConn) uncork(t *testing.T) {
	t.Helper()
	c.flowed = true
	if _, err := c.Conn.Write(c.held.Bytes()); err != nil {
		t.Fatal(err)
	}
}

// A choppedConn writes in pieces of the given sizes, over and over.
type choppedConn struct {
	net.Conn
	sizes []int
	turn  int
}

func (c *choppedConn) Write(b []byte) (int, error) {
	written := 0
	for written < len(b) {
		size := min(c.sizes[c.turn%len(c.sizes)], len(b)-written)
		c.turn++
		n, err := c.Conn.Write(b[written : written+size])
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}
