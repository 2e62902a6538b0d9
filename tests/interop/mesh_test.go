package interop

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

// Clients on all nodes reach each other, in order, whatever the nodes are.
func TestMeshPackets(t *testing.T) {
	onMixes(t, func(t *testing.T, r region) {
		var peers []*peer
		for _, s := range r {
			peers = append(peers, connectMany(t, s, 2)...)
		}
		var flows []flow
		for i, from := range peers {
			for j, to := range peers {
				if i == j {
					continue
				}
				introduce(t, from, to)
				flows = append(flows, flow{from: from, to: to, id: uint64(100*i + j), sizes: mixedSizes(100)})
			}
		}
		relay(t, narrow, flows...)
		for i, s := range r {
			if forwarded := s.metric(t, "packets_forwarded_in"); forwarded == 0 {
				t.Errorf("node %d has had nothing forwarded to it", i)
			}
		}
	})
}

func TestMeshPacketSizes(t *testing.T) {
	onMixes(t, func(t *testing.T, r region) {
		a, b := connect(t, r[0]), connect(t, r[1])
		introduce(t, a, b)
		introduce(t, b, a)
		for i, size := range interestingSizes {
			echo(t, a, b, payload(1, i, size))
		}
		for i, size := range []int{minDisco, 1400, derp.MaxPacketSize} {
			echo(t, a, b, discoPayload(2, i, size))
		}
	})
}

// A client goes from node to node and is found on each; who knew it hears that it left.
func TestMeshMove(t *testing.T) {
	onMixes(t, func(t *testing.T, r region) {
		private := key.NewNode()
		for step := range 2 * len(r) {
			friend, mover := connect(t, r[0]), connectAs(t, r[step%len(r)], private)
			introduce(t, friend, mover)
			introduce(t, mover, friend)
			exchange(t, friend, mover)
			mover.close()
			friend.wantGone(t, mover.key, derp.PeerGoneReasonDisconnected)
			friend.close()
		}
	})
}

// When a client leaves, those who received from it are told on whatever node they are.
func TestMeshPeerGone(t *testing.T) {
	onMixes(t, func(t *testing.T, r region) {
		leaver := connect(t, r[len(r)-1])
		var receivers, bystanders []*peer
		for _, s := range r {
			receivers = append(receivers, connectMany(t, s, 3)...)
			bystanders = append(bystanders, connect(t, s))
		}
		for _, p := range receivers {
			introduce(t, leaver, p)
		}
		leaver.close()
		for _, p := range receivers {
			p.wantGone(t, leaver.key, derp.PeerGoneReasonDisconnected)
		}
		for _, p := range bystanders {
			p.wantSilence(t)
		}
		for _, p := range receivers {
			p.send(t, leaver.key, discoPayload(1, 0, 100))
			p.wantGone(t, leaver.key, derp.PeerGoneReasonNotHere)
		}
	})
}

// A key on two nodes at once is reached still when it leaves one of them, and nobody is told.
func TestMeshTwin(t *testing.T) {
	onMixes(t, func(t *testing.T, r region) {
		private := key.NewNode()
		friend, first := connect(t, r[1]), connectAs(t, r[0], private)
		introduce(t, first, friend)
		introduce(t, friend, first)
		last := r[len(r)-1]
		second := connectAs(t, last, private)
		introduce(t, second, friend)
		// News comes in order: who reaches the later one has heard of the second as well.
		introduce(t, friend, connect(t, last))
		first.close()
		introduce(t, friend, second)
		exchange(t, friend, second)
		friend.wantSilence(t)
	})
}

// Only who dials knows the other's clients.
func TestMeshOneWay(t *testing.T) {
	t.Parallel()
	for name, kinds := range map[string][]bool{
		"both":               {tested, tested},
		"derper dials":       {derper, tested},
		"derper is dialled":  {tested, derper},
		"upstream by itself": {derper, derper},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startRegion(t, kinds, func(from, to int) bool { return from == 0 && to == 1 })
			a, b := connect(t, r[0]), connect(t, r[1])
			introduce(t, a, b)
			relay(t, narrow, flow{from: a, to: b, id: 1, sizes: mixedSizes(500)})
			b.send(t, a.key, discoPayload(1, 0, 100))
			b.wantGone(t, a.key, derp.PeerGoneReasonNotHere)
			a.wantSilence(t)
			if remote := r[1].metric(t, "clients_remote"); remote != 0 {
				t.Errorf("who doesn't dial knows %v remote clients", remote)
			}
		})
	}
}

// A node that restarts is found again, by itself and by the others.
func TestMeshRestart(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"two", "beside derper", "derper first"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startRegion(t, mixes[name], everybody)
			stayer, leaver := connect(t, r[1]), connect(t, r[0])
			introduce(t, leaver, stayer)
			r[0].restart(t, r[0].flags...)
			stayer.wantGone(t, leaver.key, derp.PeerGoneReasonDisconnected)
			r.settle(t, everybody)
			back := connect(t, r[0])
			introduce(t, stayer, back)
			introduce(t, back, stayer)
			relay(t, narrow,
				flow{from: back, to: stayer, id: 1, sizes: mixedSizes(300)},
				flow{from: stayer, to: back, id: 2, sizes: mixedSizes(300)})
		})
	}
}

// startMeshed starts a node with the mesh key that dials nobody.
func startMeshed(t *testing.T) *server {
	t.Helper()
	return startRegion(t, []bool{tested}, func(from, to int) bool { return false })[0]
}

// A presence is what RunWatchConnectionLoop has told so far.
type presence struct {
	mu  sync.Mutex
	now map[key.NodePublic]derp.PeerPresentMessage
}

func (p *presence) add(m derp.PeerPresentMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now[m.Key] = m
}

func (p *presence) remove(m derp.PeerGoneMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.now, m.Peer)
}

func (p *presence) copy() map[key.NodePublic]derp.PeerPresentMessage {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.now)
}

// watch runs upstream's own loop, which is what derper's nodes do and monitors as well.
func watch(t *testing.T, s *server) (*derphttp.Client, *presence) {
	t.Helper()
	client := newMeshClient(t, s)
	client.WatchConnectionChanges = true
	seen := &presence{now: map[key.NodePublic]derp.PeerPresentMessage{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		client.RunWatchConnectionLoop(ctx, key.NodePublic{}, logger.Discard, seen.add, seen.remove, nil)
	}()
	t.Cleanup(func() {
		cancel()
		client.Close()
		<-ended
	})
	return client, seen
}

// want waits until just these peers, and the watcher itself, are present.
func (p *presence) want(t *testing.T, watcher key.NodePublic, peers ...*peer) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d clients and the watcher are present", len(peers)), func() bool {
		now := p.copy()
		for _, peer := range peers {
			if _, ok := now[peer.key]; !ok {
				return false
			}
		}
		_, ok := now[watcher]
		return ok && len(now) == len(peers)+1
	})
}

func TestMeshWatchLoop(t *testing.T) {
	t.Parallel()
	s := startMeshed(t)
	peers := connectMany(t, s, 20)
	client, seen := watch(t, s)
	itself := client.SelfPublicKey()
	seen.want(t, itself, peers...)

	now := seen.copy()
	for _, p := range peers {
		message := now[p.key]
		local, err := p.link.(*derphttp.Client).LocalAddr()
		if err != nil {
			t.Fatal(err)
		}
		if message.IPPort != local || message.Flags != derp.PeerPresentIsRegular {
			t.Errorf("present with address %v and flags %v, want %v and %v",
				message.IPPort, message.Flags, local, derp.PeerPresentIsRegular)
		}
	}
	if flags := now[itself].Flags; flags != derp.PeerPresentIsMeshPeer {
		t.Errorf("the watcher is present with flags %v, want %v", flags, derp.PeerPresentIsMeshPeer)
	}

	for _, p := range peers[:10] {
		p.close()
	}
	peers = append(peers[10:], connectMany(t, s, 5)...)
	peers = append(peers, connectTwins(t, s, 2)[0])
	seen.want(t, itself, peers...)

	_, other := watch(t, s)
	eventually(t, "a second watcher sees as much", func() bool {
		return len(other.copy()) == len(peers)+2
	})
}

// What a mesh peer says to a server by upstream's client.
func TestMeshForwardAndClosePeer(t *testing.T) {
	t.Parallel()
	s := startMeshed(t)
	client := newMeshClient(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if err := client.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	source, receiver, bystander := key.NewNode().Public(), connect(t, s), connect(t, s)
	for i, size := range interestingSizes {
		data := payload(1, i, size)
		if err := client.ForwardPacket(source, receiver.key, data); err != nil {
			t.Fatal(err)
		}
		receiver.wantPacket(t, source, data)
	}
	if err := client.ClosePeer(receiver.key); err != nil {
		t.Fatal(err)
	}
	receiver.wantEnd(t)
	bystander.wantSilence(t)
	exchange(t, bystander, connect(t, s))
}
