package interop

import (
	"net"
	"testing"

	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// interestingSizes are those around the borders of frames, disco packets, TLS records, the servers'
// and clients' buffers, and the largest packet.
var interestingSizes = []int{
	0, 1, 31, 32, 33, 61, 62, 63, 1400, 2011, 4059, 4096, 16347, 16348, 16384, 16385,
	32731, 32768, 65498, 65499, 65535, derp.MaxPacketSize,
}

func TestPacketSizes(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		a, b := connect(t, s), connect(t, s)
		for i, size := range interestingSizes {
			echo(t, a, b, payload(1, i, size))
		}
	})
}

func TestDiscoPacketSizes(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		a, b := connect(t, s), connect(t, s)
		for i, size := range []int{6, 61, minDisco, minDisco + 1, 1400, derp.MaxPacketSize} {
			echo(t, a, b, discoPayload(1, i, size))
		}
	})
}

func TestOrderOfOnePair(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		a, b := connect(t, s), connect(t, s)
		relay(t, narrow,
			flow{from: a, to: b, id: 1, sizes: mixedSizes(3000)},
			flow{from: b, to: a, id: 2, sizes: mixedSizes(3000)})
	})
}

func TestWideWindow(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		skipOnOracle(t, "derper drops what exceeds its queue of 32 packets; sluice takes 128 packets in flight")
		a, b := connect(t, s), connect(t, s)
		relay(t, wide,
			flow{from: a, to: b, id: 1, sizes: mixedSizes(3000)},
			flow{from: b, to: a, id: 2, sizes: mixedSizes(3000)})
	})
}

// Enough pairs that keys of both ends fall on every combination of workers.
func TestManyPairs(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		peers := connectMany(t, s, 48)
		var flows []flow
		for i, p := range peers {
			flows = append(flows, flow{from: p, to: peers[i^1], id: uint64(i), sizes: mixedSizes(400)})
		}
		relay(t, narrow, flows...)
	})
}

// Everyone sends to everyone, so each connection's stream is a mix of many destinations and each
// receiver's a mix of many sources.
func TestEveryoneToEveryone(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		peers := connectMany(t, s, 10)
		var flows []flow
		for i, from := range peers {
			for j, to := range peers {
				if i != j {
					flows = append(flows, flow{from: from, to: to, id: uint64(100*i + j), sizes: mixedSizes(50)})
				}
			}
		}
		relay(t, narrow, flows...)
	})
}

// Hundreds of frames for many destinations in one write: the server must take them apart.
func TestBurstInOneWrite(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		const each = 20
		receivers := connectMany(t, s, 24)
		conn := &corkedConn{Conn: s.dial(t), flowed: true}
		from := upgrade(t, s, conn, "DERP").join(t)
		conn.flowed = false
		sizes := []int{1400, 0, 300, 62, 1280}
		for i := range each {
			for n, to := range receivers {
				from.send(t, to.key, payload(uint64(n), i, sizes[(i+n)%len(sizes)]))
			}
		}
		conn.uncork(t)
		for n, to := range receivers {
			for i := range each {
				to.wantPacket(t, from.key, payload(uint64(n), i, sizes[(i+n)%len(sizes)]))
			}
		}
	})
}

// Frames cut anywhere, each piece in a TLS record or segment of its own.
func TestChoppedFrames(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		to := connect(t, s)
		for _, sizes := range [][]int{{1}, {3, 1, 7}, {5, 37}, {1000, 1, 16384}} {
			conn := &choppedConn{Conn: s.dial(t), sizes: sizes}
			from := upgrade(t, s, conn, "DERP").join(t)
			packets := []int{0, 1400, 1, 62, 4096, 31, 1400}
			relay(t, narrow, flow{from: from, to: to, id: uint64(sizes[0]), sizes: packets})
		}
	})
}

// Order holds within data and within disco, not between the two.
func TestDiscoBesideData(t *testing.T) {
	const count, disco, data = 400, 1, 2
	onBoth(t, func(t *testing.T, s *server) {
		a, b := connect(t, s), connect(t, s)
		window := newGate(narrow)
		failed := make(chan error, 1)
		go func() {
			for i := range count {
				for _, packet := range [][]byte{discoPayload(disco, i, 100), payload(data, i, 1400)} {
					window.enter(len(packet))
					if err := a.Send(b.key, packet); err != nil {
						failed <- err
						return
					}
				}
			}
			failed <- nil
		}()
		defer window.close()
		var seen [3]int
		for range 2 * count {
			packet, err := nextPacket(b)
			if err != nil {
				t.Fatal(err)
			}
			kind, want := data, payload(data, seen[data], 1400)
			if len(packet.Data) == 100 {
				kind, want = disco, discoPayload(disco, seen[disco], 100)
			}
			if string(packet.Data) != string(want) {
				t.Fatalf("disco %d, data %d: received another packet than was due", seen[disco], seen[data])
			}
			seen[kind]++
			window.leave(len(packet.Data))
		}
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	})
}

func TestSendToSelf(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		p := connect(t, s)
		relay(t, narrow, flow{from: p, to: p, id: 1, sizes: mixedSizes(200)})
	})
}

// A receiver that reads nothing costs only itself: its sender goes on, and after the write time-out
// of two seconds the server closes it.
func TestStalledReceiver(t *testing.T) {
	onBothParallel(t, func(t *testing.T, s *server) {
		from, to := connect(t, s), connect(t, s)
		stalled := key.NewNode()
		st := open(t, s)
		if tcp, ok := st.Conn.(*net.TCPConn); ok {
			tcp.SetReadBuffer(4 << 10)
		}
		st.identify(t, clientInfo(stalled, s.key, 0))
		for i := range 4000 {
			from.send(t, stalled.Public(), payload(1, i, 4096))
		}
		exchange(t, from, to)
		eventually(t, "a write to the stalled client times out", func() bool {
			return s.metric(t, "sclient_write_timeouts") == 1
		})
		eventually(t, "the stalled client is closed", func() bool {
			return s.metric(t, "current_connections") == 2
		})
		exchange(t, from, to)
	})
}
