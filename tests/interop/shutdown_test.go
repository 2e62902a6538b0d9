package interop

import "testing"

// SIGTERM ends the server cleanly and in time, whoever is connected and however far.
func TestShutdownWithClients(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		peers := connectMany(t, s, 10)
		peers = append(peers, connectTwins(t, s, 2)...)
		peers = append(peers, connectWebSocket(t, s))
		exchange(t, peers[0], peers[1])
		s.dial(t)           // says nothing
		open(t, s).greet(t) // never logs in
		connectMany(t, s, 5)[0].close()
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		for _, p := range peers {
			p.wantShutdown(t)
		}
	})
}
