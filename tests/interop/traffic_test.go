package interop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// discoMagic begins a packet of path discovery, which is at least minDisco bytes long. Servers keep
// such packets apart from the others.
const (
	discoMagic = "TS💬"
	minDisco   = 62
)

// payload is the content of packet i of a flow. It depends on all three, so a packet that is lost,
// doubled, moved, misdirected or cut shows.
func payload(flow uint64, i, size int) []byte {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[0:], flow)
	binary.LittleEndian.PutUint64(seed[8:], uint64(i))
	binary.LittleEndian.PutUint64(seed[16:], uint64(size))
	data := make([]byte, size)
	rand.NewChaCha8(seed).Read(data)
	return data
}

// discoPayload is payload dressed as path discovery.
func discoPayload(flow uint64, i, size int) []byte {
	data := payload(flow, i, size)
	copy(data, discoMagic)
	return data
}

// A flow is a run of packets from one peer to another.
type flow struct {
	from, to *peer
	id       uint64
	sizes    []int
}

// A window bounds what is on its way to one receiver. Nothing of DERP acknowledges a packet, and a
// server drops what overflows a receiver's queue, so the tests close the loop themselves.
type window struct {
	packets, bytes int
}

// narrow is what no server may drop: derper queues 32 packets for each client, sluice about a
// megabyte. wide goes past derper's queue and is for sluice alone.
var (
	narrow = window{packets: 28, bytes: 256 << 10}
	wide   = window{packets: 128, bytes: 512 << 10}
)

// A gate holds senders to one receiver within a window.
type gate struct {
	window
	mu      sync.Mutex
	changed *sync.Cond
	inside  window
	closed  bool
}

func newGate(w window) *gate {
	g := &gate{window: w}
	g.changed = sync.NewCond(&g.mu)
	return g
}

// enter waits for room and reports false once the gate is closed. A packet larger than the window
// goes alone.
func (g *gate) enter(size int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for !g.closed && g.inside.packets > 0 &&
		(g.inside.packets >= g.packets || g.inside.bytes+size > g.bytes) {
		g.changed.Wait()
	}
	g.inside.packets++
	g.inside.bytes += size
	return !g.closed
}

func (g *gate) leave(size int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside.packets--
	g.inside.bytes -= size
	g.changed.Broadcast()
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.changed.Broadcast()
}

// relay runs all flows at once and fails unless every packet arrives intact and in its flow's order.
// Flows to the same peer share one window.
func relay(t *testing.T, w window, flows ...flow) {
	t.Helper()
	gates := map[*peer]*gate{}
	arriving := map[*peer]map[key.NodePublic]flow{}
	for _, f := range flows {
		if gates[f.to] == nil {
			gates[f.to] = newGate(w)
			arriving[f.to] = map[key.NodePublic]flow{}
		}
		arriving[f.to][f.from.key] = f
	}

	var all sync.WaitGroup
	errs := make(chan error, len(flows)+len(gates))
	run := func(step func() error) {
		all.Go(func() {
			if err := step(); err != nil {
				errs <- err
				for _, g := range gates {
					g.close() // let the others end too
				}
			}
		})
	}
	for to, g := range gates {
		run(func() error { return receiveAll(to, g, arriving[to]) })
	}
	for _, f := range flows {
		run(func() error { return sendAll(f, gates[f.to]) })
	}
	all.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	if t.Failed() {
		t.FailNow()
	}
}

func sendAll(f flow, g *gate) error {
	for i, size := range f.sizes {
		if !g.enter(size) {
			return nil // a receiver gave up, and says why
		}
		if err := f.from.Send(f.to.key, payload(f.id, i, size)); err != nil {
			return fmt.Errorf("flow %d, packet %d: %w", f.id, i, err)
		}
	}
	return nil
}

func receiveAll(to *peer, g *gate, flows map[key.NodePublic]flow) error {
	missing := 0
	for _, f := range flows {
		missing += len(f.sizes)
	}
	due := map[key.NodePublic]int{} // the number of each flow's next packet
	for ; missing > 0; missing-- {
		packet, err := nextPacket(to)
		if err != nil {
			return fmt.Errorf("%d packets missing: %w", missing, err)
		}
		f, ok := flows[packet.Source]
		if !ok {
			return fmt.Errorf("packet from %v, who sent none here", packet.Source)
		}
		if err := f.check(due[packet.Source], packet.Data); err != nil {
			return err
		}
		due[packet.Source]++
		g.leave(len(packet.Data))
	}
	return nil
}

func nextPacket(p *peer) (derp.ReceivedPacket, error) {
	select {
	case message, ok := <-p.messages:
		if !ok {
			return derp.ReceivedPacket{}, fmt.Errorf("connection ended: %w", p.ended)
		}
		packet, ok := message.(derp.ReceivedPacket)
		if !ok {
			return packet, fmt.Errorf("received %T %v, want a packet", message, message)
		}
		return packet, nil
	case <-time.After(deadline):
		return derp.ReceivedPacket{}, errors.New("nothing more came")
	}
}

// check compares a packet with the one that is due, and if it is another one tells which.
func (f flow) check(due int, data []byte) error {
	if due >= len(f.sizes) {
		return fmt.Errorf("flow %d: %d packets sent, one more received", f.id, len(f.sizes))
	}
	if bytes.Equal(data, payload(f.id, due, f.sizes[due])) {
		return nil
	}
	for i, size := range f.sizes {
		if size > 8 && len(data) == size && bytes.Equal(data, payload(f.id, i, size)) {
			return fmt.Errorf("flow %d: received packet %d where %d was due: lost or out of order", f.id, i, due)
		}
	}
	return fmt.Errorf("flow %d, packet %d: received %d bytes that are not the %d sent", f.id, due, len(data), f.sizes[due])
}

// mixedSizes is traffic like a network's: mostly small and full packets, now and then a giant.
func mixedSizes(n int) []int {
	pattern := []int{1400, 32, 1400, 148, 1, 1400, 62, 0, 1280, 4096, 96, 1400, 31, 1400, 16384, 700}
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = pattern[i%len(pattern)]
		if i%97 == 96 {
			sizes[i] = derp.MaxPacketSize - i%3
		}
	}
	return sizes
}
