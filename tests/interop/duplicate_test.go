package interop

import (
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// connectTwins logs in n times with one key. Each is fully there before the next comes.
func connectTwins(t *testing.T, s *server, n int) []*peer {
	t.Helper()
	private := key.NewNode()
	twins := make([]*peer, n)
	for i := range twins {
		twins[i] = connectAs(t, s, private)
	}
	return twins
}

// wantActive wants packets for the twins' key to reach this one, and it alone.
func wantActive(t *testing.T, from, active *peer, others ...*peer) {
	t.Helper()
	from.send(t, active.key, []byte("to the active"))
	active.wantPacket(t, from.key, []byte("to the active"))
	for _, other := range others {
		other.sync(t) // it reads all it has; and now it is the last that sent
	}
	active.sync(t)
}

// becomesActive sends until a packet arrives at p, for a change that nobody announces.
func becomesActive(t *testing.T, from, p *peer) {
	t.Helper()
	eventually(t, "traffic reaches the remaining connection", func() bool {
		from.send(t, p.key, []byte("anyone?"))
		select {
		case message, ok := <-p.messages:
			if _, isPacket := message.(derp.ReceivedPacket); !ok || !isPacket {
				t.Fatalf("received %T %v, want a packet", message, message)
			}
			return true
		case <-time.After(50 * time.Millisecond):
			return false
		}
	})
}

func TestNewestTwinIsActive(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		from, twins := connect(t, s), connectTwins(t, s, 3)
		wantActive(t, from, twins[2], twins[0], twins[1])
	})
}

// Any frame counts as sending: a packet, a ping, even one that the server doesn't know.
func TestLastWriterIsActive(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		from, private := connect(t, s), key.NewNode()
		st := open(t, s)
		first := st.joinAs(t, private)
		second := connectAs(t, s, private)

		first.send(t, from.key, []byte("packet"))
		from.wantPacket(t, first.key, []byte("packet"))
		wantActive(t, from, first)

		second.sync(t)
		wantActive(t, from, second)

		st.writeFrame(derp.FrameType(0xee), nil)
		becomesActive(t, from, first)
	})
}

// Both twins can send whoever is active, and the receiver can't tell them apart.
func TestBothTwinsSend(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		to, twins := connect(t, s), connectTwins(t, s, 2)
		for i := range 20 {
			data := payload(1, i, 100)
			twins[i%2].send(t, to.key, data)
			to.wantPacket(t, twins[0].key, data)
		}
	})
}

func TestTwinRemains(t *testing.T) {
	for name, leaving := range map[string]int{"older leaves": 0, "newer leaves": 1} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, s *server) {
				from, twins := connect(t, s), connectTwins(t, s, 2)
				twins[leaving].sync(t) // make the leaving one active
				twins[leaving].close()
				becomesActive(t, from, twins[1-leaving])
			})
		})
	}
}

// Of three, when the active one goes, the one that sent last before it takes over.
func TestMostRecentTwinTakesOver(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		from, twins := connect(t, s), connectTwins(t, s, 3)
		for _, i := range []int{2, 0, 1} {
			twins[i].sync(t)
		}
		twins[1].close()
		becomesActive(t, from, twins[0])
		twins[2].wantSilence(t)
	})
}

// A key is gone only with its last connection.
func TestPeerGoneWithLastTwin(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		to, twins := connect(t, s), connectTwins(t, s, 2)
		for _, twin := range twins {
			twin.send(t, to.key, []byte("hello"))
			to.wantPacket(t, twin.key, []byte("hello"))
		}
		twins[1].close()
		becomesActive(t, to, twins[0])
		to.wantSilence(t)
		twins[0].close()
		to.wantGone(t, twins[0].key, derp.PeerGoneReasonDisconnected)
		to.wantSilence(t)
	})
}
