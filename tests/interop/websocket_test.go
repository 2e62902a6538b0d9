package interop

import (
	"context"
	"net"
	"net/http"
	"testing"

	"github.com/coder/websocket"
	"tailscale.com/derp"
	"tailscale.com/net/wsconn"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

// dialWebSocket connects with the library and the subprotocol of derphttp's own WebSocket transport,
// which native builds of it leave out.
func dialWebSocket(t *testing.T, s *server, options websocket.DialOptions) (*websocket.Conn, *http.Response) {
	t.Helper()
	options.HTTPClient = s.httpClient(t)
	if options.Subprotocols == nil {
		options.Subprotocols = []string{"derp"}
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	conn, response, err := websocket.Dial(ctx, s.url("/derp"), &options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	return conn, response
}

// webSocketConn makes a byte stream of a WebSocket.
func webSocketConn(conn *websocket.Conn) net.Conn {
	return wsconn.NetConn(context.Background(), conn, websocket.MessageBinary, "")
}

func connectWebSocket(t *testing.T, s *server) *peer {
	t.Helper()
	conn, _ := dialWebSocket(t, s, websocket.DialOptions{})
	return newStream(webSocketConn(conn)).join(t)
}

func TestWebSocketHandshake(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		for name, options := range map[string]websocket.DialOptions{
			"usual":           {},
			"foreign origin":  {HTTPHeader: http.Header{"Origin": {"https://app.example"}}},
			"two protocols":   {Subprotocols: []string{"chat", "derp"}},
			"may compress":    {CompressionMode: websocket.CompressionContextTakeover},
			"may compress 2":  {CompressionMode: websocket.CompressionNoContextTakeover},
			"browser headers": {HTTPHeader: http.Header{"User-Agent": {"Mozilla/5.0"}, "Cookie": {"a=b"}}},
		} {
			t.Run(name, func(t *testing.T) {
				conn, response := dialWebSocket(t, s, options)
				wantHeader(t, response.Header, "Sec-Websocket-Protocol", "derp")
				wantHeader(t, response.Header, "Sec-Websocket-Extensions", "") // packets do not compress
				st := newStream(webSocketConn(conn))
				exchange(t, st.join(t), connect(t, s))
				if st.server != s.key {
					t.Fatalf("greeted by %v, want %v", st.server, s.key)
				}
			})
		}
		if got := s.metric(t, "websocket_accepts"); got != 6 {
			t.Errorf("%v WebSockets counted, want 6", got)
		}
	})
}

func TestWebSocketPacketSizes(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		web, raw := connectWebSocket(t, s), connect(t, s)
		for i, size := range []int{0, 1, 31, 32, 61, 62, 63, 125, 126, 127, 1400, 4096, 16384, 16385, 30000} {
			echo(t, web, raw, payload(1, i, size))
		}
	})
}

// The client's library closes on any message of more than 32,768 bytes, but may send one.
func TestWebSocketLargePackets(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		skipOnOracle(t, "derper neither splits nor accepts WebSocket messages above 32,768 bytes")
		web, raw, web2 := connectWebSocket(t, s), connect(t, s), connectWebSocket(t, s)
		for i, size := range []int{32731, 32768, 32769, 36865, 65498, 65499, 65535, derp.MaxPacketSize} {
			echo(t, web, raw, payload(1, i, size))
			echo(t, web, web2, payload(2, i, size))
		}
	})
}

func TestWebSocketOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		web, web2, raw, raw2 := connectWebSocket(t, s), connectWebSocket(t, s), connect(t, s), connect(t, s)
		sizes := mixedSizes(600)
		for i := range sizes {
			sizes[i] = min(sizes[i], 30000)
		}
		relay(t, narrow,
			flow{from: web, to: raw, id: 1, sizes: sizes},
			flow{from: raw, to: web, id: 2, sizes: sizes},
			flow{from: web2, to: raw, id: 3, sizes: sizes},
			flow{from: web2, to: web, id: 4, sizes: sizes},
			flow{from: raw2, to: web2, id: 5, sizes: sizes})
	})
}

// The borders of messages carry no meaning: a frame may be spread over many, and one message may
// hold many frames.
func TestWebSocketMessageBorders(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		sizes := []int{0, 1400, 1, 62, 4096, 31, 1400}
		t.Run("many messages a frame", func(t *testing.T) {
			to := connect(t, s)
			for _, chop := range []int{1, 5, 100} {
				conn, _ := dialWebSocket(t, s, websocket.DialOptions{})
				from := newStream(&choppedConn{Conn: webSocketConn(conn), sizes: []int{chop}}).join(t)
				relay(t, narrow, flow{from: from, to: to, id: uint64(chop), sizes: sizes})
			}
		})
		t.Run("many frames a message", func(t *testing.T) {
			to := connect(t, s)
			socket, _ := dialWebSocket(t, s, websocket.DialOptions{})
			conn := &corkedConn{Conn: webSocketConn(socket), flowed: true}
			from := newStream(conn).join(t)
			conn.flowed = false
			for i, size := range sizes {
				from.send(t, to.key, payload(9, i, size))
			}
			conn.uncork(t)
			for i, size := range sizes {
				to.wantPacket(t, from.key, payload(9, i, size))
			}
		})
	})
}

// A message may come in fragments, with control frames between them.
func TestWebSocketFragments(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		to := connect(t, s)
		conn, _ := dialWebSocket(t, s, websocket.DialOptions{})
		from := newStream(webSocketConn(conn)).join(t)
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		message, err := conn.Writer(ctx, websocket.MessageBinary)
		if err != nil {
			t.Fatal(err)
		}
		data := payload(1, 0, 1400)
		frame := sendPacketFrame(to.key, data)
		for len(frame) > 0 {
			n := min(len(frame), 123)
			if _, err := message.Write(frame[:n]); err != nil {
				t.Fatal(err)
			}
			if err := conn.Ping(ctx); err != nil { // waits for the pong
				t.Fatal("ping between fragments: ", err)
			}
			frame = frame[n:]
		}
		if err := message.Close(); err != nil {
			t.Fatal(err)
		}
		to.wantPacket(t, from.key, data)
		exchange(t, from, to)
	})
}

func sendPacketFrame(to key.NodePublic, data []byte) []byte {
	body := append(to.AppendTo(nil), data...)
	size := len(body)
	header := []byte{byte(derp.FrameSendPacket), byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)}
	return append(header, body...)
}

func TestWebSocketTextMessageCloses(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		conn, _ := dialWebSocket(t, s, websocket.DialOptions{})
		p := newStream(webSocketConn(conn)).join(t)
		if err := conn.Write(t.Context(), websocket.MessageText, []byte("text")); err != nil {
			t.Fatal(err)
		}
		p.wantEnd(t)
		if status := websocket.CloseStatus(p.ended); status != websocket.StatusUnsupportedData {
			t.Errorf("closed with %v (%v), want unsupported data", status, p.ended)
		}
	})
}

// Closing is a handshake, and a closed WebSocket's key is gone.
func TestWebSocketClose(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		to := connect(t, s)
		conn, _ := dialWebSocket(t, s, websocket.DialOptions{})
		private := key.NewNode()
		stream := webSocketConn(conn)
		st := newStream(stream)
		client, err := derp.NewClient(private, stream, st.ReadWriter, logger.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Send(to.key, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		to.wantPacket(t, private.Public(), []byte("hello"))
		if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Error("closing handshake: ", err)
		}
		to.wantGone(t, private.Public(), derp.PeerGoneReasonDisconnected)
	})
}

// A WebSocket and a raw connection of one key are duplicates like any other.
func TestWebSocketTwin(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		from, private := connect(t, s), key.NewNode()
		raw := connectAs(t, s, private)
		conn, _ := dialWebSocket(t, s, websocket.DialOptions{})
		web := newStream(webSocketConn(conn)).joinAs(t, private)
		wantActive(t, from, web, raw)
		web.close()
		becomesActive(t, from, raw)
	})
}
