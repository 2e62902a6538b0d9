package interop

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/types/key"
)

func TestPing(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		p := connect(t, s)
		for i := range byte(50) {
			data := [8]byte{i, 0xff, 0, i ^ 0x55}
			if err := p.SendPing(data); err != nil {
				t.Fatal(err)
			}
			if message := p.next(t); message != derp.ReceivedMessage(derp.PongMessage(data)) {
				t.Fatalf("received %T %v, want a pong with %v", message, message, data)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		if err := p.link.(*derphttp.Client).Ping(ctx); err != nil {
			t.Fatal("derphttp's ping: ", err)
		}
	})
}

// A client that pings too fast gets fewer pongs, and no other harm.
func TestPingFlood(t *testing.T) {
	const flood = 500
	onBoth(t, func(t *testing.T, s *server) {
		p := connect(t, s)
		for range flood {
			if err := p.SendPing([8]byte{1}); err != nil {
				t.Fatal(err)
			}
		}
		pongs := 0
		eventually(t, "a ping after the flood is answered", func() bool {
			if err := p.SendPing([8]byte{2}); err != nil {
				t.Fatal(err)
			}
			for {
				select {
				case message := <-p.messages:
					switch message {
					case derp.ReceivedMessage(derp.PongMessage{1}):
						pongs++
					case derp.ReceivedMessage(derp.PongMessage{2}):
						return true
					default:
						t.Fatalf("received %T %v, want a pong", message, message)
					}
				case <-time.After(100 * time.Millisecond):
					return false
				}
			}
		})
		if pongs < 1 || pongs > flood {
			t.Fatalf("%d pongs for %d pings", pongs, flood)
		}
	})
}

func TestNotePreferred(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		home := func(want float64) {
			t.Helper()
			eventually(t, "the number of home clients is right", func() bool {
				return s.metric(t, "current_home_connections") == want
			})
		}
		a, b := connect(t, s), connect(t, s)
		home(0)
		a.link.(*derphttp.Client).NotePreferred(true)
		b.link.(*derphttp.Client).NotePreferred(true)
		home(2)
		a.link.(*derphttp.Client).NotePreferred(false)
		home(1)
		b.close() // leaving ends it too
		home(0)
		a.sync(t)
	})
}

// What only a mesh peer may do ends the connection of anyone else, and has no effect.
func TestPrivilegedFrames(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		victim, bystander := connect(t, s), connect(t, s)
		for name, act := range map[string]func(*derp.Client) error{
			"WatchConns": (*derp.Client).WatchConnectionChanges,
			"ClosePeer":  func(c *derp.Client) error { return c.ClosePeer(victim.key) },
			"ForwardPacket": func(c *derp.Client) error {
				return c.ForwardPacket(bystander.key, victim.key, []byte("forged"))
			},
		} {
			for who, meshKey := range map[string]key.DERPMesh{"no mesh key": {}, "wrong mesh key": wrongMeshKey(t)} {
				t.Run(name+" with "+who, func(t *testing.T) {
					p := open(t, s).join(t, derp.MeshKey(meshKey))
					if err := act(p.link.(*derp.Client)); err != nil {
						t.Fatal(err)
					}
					p.wantEnd(t)
					exchange(t, victim, bystander)
				})
			}
		}
	})
}

// A server without a mesh key must not take the all-zero one for it.
func TestZeroMeshKeyIsNone(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		private := key.NewNode()
		st := open(t, s)
		st.identify(t, sealInfo(private, s.key, `{"version":2,"meshKey":"`+strings.Repeat("0", 64)+`"}`))
		st.writeFrame(derp.FrameWatchConns, nil)
		st.wantClosed(t)
	})
}

func TestFramesThatClose(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		to := connect(t, s)
		for _, frame := range []struct {
			name string
			kind derp.FrameType
			size int
		}{
			{"packet of 65,537 bytes", derp.FrameSendPacket, derp.KeyLen + derp.MaxPacketSize + 1},
			{"packet of a megabyte", derp.FrameSendPacket, derp.KeyLen + 1<<20},
			{"short SendPacket", derp.FrameSendPacket, derp.KeyLen - 1},
			{"empty SendPacket", derp.FrameSendPacket, 0},
			{"short ForwardPacket", derp.FrameForwardPacket, 2*derp.KeyLen - 1},
			{"empty NotePreferred", derp.FrameNotePreferred, 0},
			{"long NotePreferred", derp.FrameNotePreferred, 2},
			{"long WatchConns", derp.FrameWatchConns, 1},
			{"short ClosePeer", derp.FrameClosePeer, derp.KeyLen - 1},
			{"long ClosePeer", derp.FrameClosePeer, derp.KeyLen + 1},
			{"short ping", derp.FramePing, 7},
			{"long ping", derp.FramePing, 1001},
		} {
			t.Run(frame.name, func(t *testing.T) {
				st := open(t, s)
				p := st.join(t)
				payload := to.key.AppendTo(nil)
				if frame.size > len(payload) {
					payload = append(payload, make([]byte, frame.size-len(payload))...)
				}
				st.writeFrame(frame.kind, payload[:frame.size])
				p.wantEnd(t)
			})
		}
		to.wantSilence(t)
		exchange(t, to, connect(t, s))
	})
}

// Frames that a server has no use for are read and forgotten.
func TestFramesThatMeanNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		other := connect(t, s)
		st := open(t, s)
		p := st.join(t)
		for _, frame := range []struct {
			name string
			kind derp.FrameType
			size int
		}{
			{"unknown type, empty", 0xee, 0},
			{"unknown type, small", 0xee, 7},
			{"unknown type, large", 0xee, 65568},
			{"type zero", 0, 100},
			{"pong", derp.FramePong, 8},
			{"short pong", derp.FramePong, 3},
			{"keepalive", derp.FrameKeepAlive, 0},
			{"second login", derp.FrameClientInfo, 200},
			{"RecvPacket", derp.FrameRecvPacket, 100},
			{"PeerGone", derp.FramePeerGone, 33},
		} {
			t.Run(frame.name, func(t *testing.T) {
				st.writeFrame(frame.kind, make([]byte, frame.size))
				p.sync(t)
				exchange(t, p, other)
			})
		}
	})
}

// A ping may carry more than its eight bytes, which do not come back.
func TestLongPing(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		st := open(t, s)
		st.identify(t, clientInfo(key.NewNode(), s.key, 0))
		for _, size := range []int{8, 9, 1000} {
			st.writeFrame(derp.FramePing, payload(1, 0, size))
			kind, data := st.readFrame(t)
			if kind != derp.FramePong || !bytes.Equal(data, payload(1, 0, size)[:8]) {
				t.Fatalf("ping of %d bytes answered with frame type %#x % x", size, kind, data)
			}
		}
	})
}
