package interop

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

// link is what derp.Client and derphttp.Client have in common.
type link interface {
	Send(dst key.NodePublic, packet []byte) error
	Recv() (derp.ReceivedMessage, error)
	SendPing(data [8]byte) error
	SendPong(data [8]byte) error
}

// A peer is one logged-in connection. A goroutine receives all the time, as every real client does,
// so that the server never waits for a test.
type peer struct {
	link
	key      key.NodePublic
	messages chan derp.ReceivedMessage // closed when the connection ends
	ended    error                     // why; read only after messages is closed
	close    func() error
}

// inboxSize is well above all that a test leaves unread at once.
const inboxSize = 1 << 12

// connect logs in with a fresh key.
func connect(t *testing.T, s *server) *peer {
	t.Helper()
	return connectAs(t, s, key.NewNode())
}

// connectMany logs in n clients, whose keys fall on all of the server's workers.
func connectMany(t *testing.T, s *server, n int) []*peer {
	t.Helper()
	peers := make([]*peer, n)
	for i := range peers {
		peers[i] = connect(t, s)
	}
	return peers
}

// connectAs logs in with derphttp, the way tailscaled does.
func connectAs(t *testing.T, s *server, private key.NodePrivate) *peer {
	t.Helper()
	client := newDERPHTTP(t, s, private)
	return login(t, client, private)
}

// newDERPHTTP prepares a client that has not connected yet.
func newDERPHTTP(t *testing.T, s *server, private key.NodePrivate) *derphttp.Client {
	t.Helper()
	client, err := derphttp.NewClient(private, s.url("/derp"), logger.Discard, netmon.NewStatic())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	client.TLSConfig = s.tlsConfig()
	if client.TLSConfig != nil {
		client.TLSConfig.ServerName = "" // derphttp takes it from the URL
	}
	client.SetURLDialer(new(net.Dialer).DialContext) // no proxies, no routing tricks
	return client
}

// login connects and adopts a derphttp client.
func login(t *testing.T, client *derphttp.Client, private key.NodePrivate) *peer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if err := client.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	return adopt(t, client, private, client.Close)
}

// adopt starts receiving on a connection whose ClientInfo has been sent. The first message must be
// ServerInfo: clients count themselves connected only then.
func adopt(t *testing.T, l link, private key.NodePrivate, closeLink func() error) *peer {
	t.Helper()
	p := &peer{
		link:     l,
		key:      private.Public(),
		messages: make(chan derp.ReceivedMessage, inboxSize),
		close:    closeLink,
	}
	go p.receive()
	first := p.next(t)
	info, ok := first.(derp.ServerInfoMessage)
	if !ok {
		t.Fatalf("first message after login is %T, want ServerInfo", first)
	}
	if info != (derp.ServerInfoMessage{}) {
		t.Fatalf("server asks clients to drop packets above a rate: %+v", info)
	}
	return p
}

func (p *peer) receive() {
	defer close(p.messages)
	for first := true; ; first = false {
		message, err := p.Recv()
		if err != nil {
			p.ended = err
			return
		}
		switch m := message.(type) {
		case derp.ReceivedPacket:
			m.Data = bytes.Clone(m.Data) // it lies in the client's buffer
			message = m
		case derp.PingMessage:
			p.SendPong(m)
		}
		if first || isForTests(message) {
			p.messages <- message
		}
	}
}

// isForTests is false for what may come at any time and says nothing about the test.
func isForTests(message derp.ReceivedMessage) bool {
	switch message.(type) {
	case derp.PingMessage, derp.KeepAliveMessage, derp.HealthMessage:
		return false
	}
	return true
}

// next returns the next message, whatever it is.
func (p *peer) next(t *testing.T) derp.ReceivedMessage {
	t.Helper()
	select {
	case message, ok := <-p.messages:
		if !ok {
			t.Fatal("connection ended: ", p.ended)
		}
		return message
	case <-time.After(deadline):
		t.Fatalf("no message within %v", deadline)
	}
	return nil
}

// wantPacket wants the next message to be this packet.
func (p *peer) wantPacket(t *testing.T, from key.NodePublic, data []byte) {
	t.Helper()
	message := p.next(t)
	packet, ok := message.(derp.ReceivedPacket)
	if !ok {
		t.Fatalf("received %T %v, want a packet", message, message)
	}
	if packet.Source != from {
		t.Fatalf("packet from %v, want one from %v", packet.Source, from)
	}
	if !bytes.Equal(packet.Data, data) {
		t.Fatalf("packet of %d bytes differs from the %d bytes sent", len(packet.Data), len(data))
	}
}

// wantGone wants the next message to be PeerGone.
func (p *peer) wantGone(t *testing.T, who key.NodePublic, reason derp.PeerGoneReasonType) {
	t.Helper()
	want := derp.PeerGoneMessage{Peer: who, Reason: reason}
	if message := p.next(t); message != derp.ReceivedMessage(want) {
		t.Fatalf("received %T %v, want %v", message, message, want)
	}
}

// wantSilence wants no message at all for a moment.
func (p *peer) wantSilence(t *testing.T) {
	t.Helper()
	select {
	case message, ok := <-p.messages:
		if !ok {
			t.Fatal("connection ended: ", p.ended)
		}
		t.Fatalf("unexpected %T %v", message, message)
	case <-time.After(silence):
	}
}

// wantEnd wants the server to close this connection.
func (p *peer) wantEnd(t *testing.T) {
	t.Helper()
	select {
	case message, ok := <-p.messages:
		if ok {
			t.Fatalf("received %T %v, want the connection closed", message, message)
		}
	case <-time.After(deadline):
		t.Fatalf("connection still open after %v", deadline)
	}
}

// wantShutdown is wantEnd for the end of the server itself, which may announce it, and may tell of
// peers that it closed before this one.
func (p *peer) wantShutdown(t *testing.T) {
	t.Helper()
	limit := time.After(deadline)
	for {
		select {
		case message, ok := <-p.messages:
			if !ok {
				return
			}
			switch message.(type) {
			case derp.ServerRestartingMessage, derp.PeerGoneMessage:
			default:
				t.Fatalf("received %T %v, want the connection closed", message, message)
			}
		case <-limit:
			t.Fatalf("connection still open after %v", deadline)
		}
	}
}

// send sends one packet.
func (p *peer) send(t *testing.T, to key.NodePublic, data []byte) {
	t.Helper()
	if err := p.Send(to, data); err != nil {
		t.Fatal(err)
	}
}

// sync makes sure that the server has handled all that this peer sent before.
func (p *peer) sync(t *testing.T) {
	t.Helper()
	data := [8]byte{'s', 'y', 'n', 'c'}
	if err := p.SendPing(data); err != nil {
		t.Fatal(err)
	}
	if message := p.next(t); message != derp.ReceivedMessage(derp.PongMessage(data)) {
		t.Fatalf("received %T %v, want a pong", message, message)
	}
}

// exchange proves that two peers reach each other.
func exchange(t *testing.T, a, b *peer) {
	t.Helper()
	echo(t, a, b, []byte("there and back"))
}

// echo sends a packet there and back.
func echo(t *testing.T, a, b *peer, data []byte) {
	t.Helper()
	a.send(t, b.key, data)
	b.wantPacket(t, a.key, data)
	b.send(t, a.key, data)
	a.wantPacket(t, b.key, data)
}

// A stream is a connection on which the test itself speaks DERP frames, to say what no proper client
// would.
type stream struct {
	net.Conn
	*bufio.ReadWriter
	server key.NodePublic // as its greeting said; zero with a fast start
	answer http.Header    // of the upgrade; nil with a fast start
}

// Read and Write go through the buffers.
func (st *stream) Read(b []byte) (int, error)  { return st.ReadWriter.Read(b) }
func (st *stream) Write(b []byte) (int, error) { return st.ReadWriter.Write(b) }

// open upgrades a connection to DERP and stops short of the login.
func open(t *testing.T, s *server) *stream {
	t.Helper()
	return upgrade(t, s, s.dial(t), "DERP")
}

// upgrade asks for a protocol by its name in the Upgrade header.
func upgrade(t *testing.T, s *server, conn net.Conn, protocol string) *stream {
	t.Helper()
	st := newStream(conn)
	request := upgradeRequest(t, s, protocol)
	if err := errors.Join(request.Write(st), st.Flush()); err != nil {
		t.Fatal(err)
	}
	st.SetReadDeadline(time.Now().Add(deadline))
	response, err := http.ReadResponse(st.Reader, request)
	if err != nil {
		t.Fatal("upgrade: ", err)
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade answered %s, want 101", response.Status)
	}
	st.answer = response.Header
	return st
}

func newStream(conn net.Conn) *stream {
	return &stream{Conn: conn, ReadWriter: bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))}
}

func upgradeRequest(t *testing.T, s *server, protocol string) *http.Request {
	t.Helper()
	request, err := http.NewRequest("GET", s.url("/derp"), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", protocol)
	return request
}

// greet reads the server's greeting.
func (st *stream) greet(t *testing.T) {
	t.Helper()
	kind, payload := st.readFrame(t)
	if kind != derp.FrameServerKey {
		t.Fatalf("first frame has type %#x, want ServerKey", kind)
	}
	magic, raw := payload[:len(derp.Magic)], payload[len(derp.Magic):]
	if string(magic) != derp.Magic || len(raw) < derp.KeyLen {
		t.Fatalf("bad greeting % x", payload)
	}
	st.server = publicKey(raw[:derp.KeyLen])
}

// identify logs in with a ClientInfo of the test's own making, and leaves receiving to the test.
func (st *stream) identify(t *testing.T, clientInfo []byte) {
	t.Helper()
	st.greet(t)
	st.writeFrame(derp.FrameClientInfo, clientInfo)
	if kind, _ := st.readFrame(t); kind != derp.FrameServerInfo {
		t.Fatalf("login answered with frame type %#x, want ServerInfo", kind)
	}
}

// join logs in on the stream with upstream's client and returns the peer beside it, so that the test
// can write raw frames on st while the peer receives.
func (st *stream) join(t *testing.T, options ...derp.ClientOpt) *peer {
	t.Helper()
	return st.joinAs(t, key.NewNode(), options...)
}

func (st *stream) joinAs(t *testing.T, private key.NodePrivate, options ...derp.ClientOpt) *peer {
	t.Helper()
	client, err := derp.NewClient(private, st.Conn, st.ReadWriter, logger.Discard, options...)
	if err != nil {
		t.Fatal(err)
	}
	st.server = client.ServerPublicKey()
	return adopt(t, client, private, st.Conn.Close)
}

func (st *stream) readFrame(t *testing.T) (derp.FrameType, []byte) {
	t.Helper()
	st.SetReadDeadline(time.Now().Add(deadline))
	kind, size, err := derp.ReadFrameHeader(st.Reader)
	if err != nil {
		t.Fatal("reading a frame: ", err)
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(st.Reader, payload); err != nil {
		t.Fatal("reading a frame: ", err)
	}
	return kind, payload
}

// writeFrame sends a frame. An error means nothing yet: the server may have closed already.
func (st *stream) writeFrame(kind derp.FrameType, payload []byte) {
	derp.WriteFrame(st.Writer, kind, payload)
}

// wantClosed wants the server to close a stream that never logged in, saying nothing more.
func (st *stream) wantClosed(t *testing.T) {
	t.Helper()
	st.SetReadDeadline(time.Now().Add(2 * deadline))
	n, err := io.Copy(io.Discard, st.Reader)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("connection still open after %v", 2*deadline)
	}
	if n != 0 {
		t.Fatalf("server sent %d bytes before it closed", n)
	}
}
