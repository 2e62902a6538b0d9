package interop

import (
	"math"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// Who received from a peer hears when that peer leaves; no one else does.
func TestPeerGone(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		leaver, receiver, sender, stranger := connect(t, s), connect(t, s), connect(t, s), connect(t, s)
		leaver.send(t, receiver.key, []byte("hello"))
		receiver.wantPacket(t, leaver.key, []byte("hello"))
		sender.send(t, leaver.key, []byte("hello"))
		leaver.wantPacket(t, sender.key, []byte("hello"))

		leaver.close()
		receiver.wantGone(t, leaver.key, derp.PeerGoneReasonDisconnected)
		receiver.wantSilence(t)
		sender.wantSilence(t)
		stranger.wantSilence(t)
	})
}

// One departure reaches all who received.
func TestPeerGoneToMany(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		leaver, receivers := connect(t, s), connectMany(t, s, 20)
		for _, r := range receivers {
			leaver.send(t, r.key, []byte("hello"))
			r.wantPacket(t, leaver.key, []byte("hello"))
		}
		leaver.close()
		for _, r := range receivers {
			r.wantGone(t, leaver.key, derp.PeerGoneReasonDisconnected)
		}
	})
}

// Path discovery for a key that isn't connected is answered, other packets vanish.
func TestPeerNotHere(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		p, nobody := connect(t, s), key.NewNode().Public()
		p.send(t, nobody, payload(1, 0, 1400))
		p.send(t, nobody, discoPayload(1, 1, minDisco-1)) // one byte short of disco
		p.wantSilence(t)
		p.send(t, nobody, discoPayload(1, 2, minDisco))
		p.wantGone(t, nobody, derp.PeerGoneReasonNotHere)
		p.wantSilence(t)
	})
}

// A key that was here a moment ago is as unknown as one that never was.
func TestPeerNotHereAnyMore(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		p, leaver := connect(t, s), connect(t, s)
		exchange(t, p, leaver)
		leaver.close()
		p.wantGone(t, leaver.key, derp.PeerGoneReasonDisconnected)
		p.send(t, leaver.key, discoPayload(1, 0, 100))
		p.wantGone(t, leaver.key, derp.PeerGoneReasonNotHere)
	})
}

// "Not here" is told three times in a row, then once a second.
func TestPeerNotHereLimit(t *testing.T) {
	const burst = 3
	onBothParallel(t, func(t *testing.T, s *server) {
		p, nobody := connect(t, s), key.NewNode().Public()
		begin := time.Now()
		most := func() int { return burst + int(math.Ceil(time.Since(begin).Seconds())) }
		count := p.notHereAnswers(t, nobody, burst)
		if count > most() {
			t.Fatalf("%d answers to a first burst, want at most %d", count, most())
		}
		time.Sleep(2100 * time.Millisecond) // earns two more
		count += p.notHereAnswers(t, nobody, 2)
		if count > most() {
			t.Fatalf("%d answers in all, want at most %d", count, most())
		}

		// The limit is each connection's own.
		q := connect(t, s)
		q.send(t, nobody, discoPayload(1, 0, 100))
		q.wantGone(t, nobody, derp.PeerGoneReasonNotHere)
	})
}

// notHereAnswers sends a dozen disco packets to an absent key, waits for at least so many answers
// and counts them.
func (p *peer) notHereAnswers(t *testing.T, nobody key.NodePublic, least int) int {
	t.Helper()
	for i := range 12 {
		p.send(t, nobody, discoPayload(1, i, 100))
	}
	count := 0
	for ; count < least; count++ {
		p.wantGone(t, nobody, derp.PeerGoneReasonNotHere)
	}
	want := derp.PeerGoneMessage{Peer: nobody, Reason: derp.PeerGoneReasonNotHere}
	for ; ; count++ {
		select {
		case message := <-p.messages:
			if message != derp.ReceivedMessage(want) {
				t.Fatalf("received %T %v, want %v", message, message, want)
			}
		case <-time.After(silence):
			return count
		}
	}
}
