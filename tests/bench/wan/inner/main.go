// SPDX-License-Identifier: BSD-3-Clause

// Inner stands for tailscaled where its cryptography would cost more CPU than there is: a tun device
// whose IP packets travel in DERP packets as they are, with as many bytes more as WireGuard adds. On
// the wire it behaves as tailscaled does: upstream's tun device with its offloads, upstream's DERP
// client, which seals one TLS record a packet, and before it a queue of 32 packets that loses the
// oldest.
//
// SIGHUP: a new connection to the relay.
package main

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tailscale/wireguard-go/tun"
	"go4.org/mem"
	"golang.org/x/sys/unix"
	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

var (
	name   = flag.String("name", "", "who we are; says the key as well")
	device = flag.String("tun", "inner0", "name of the tun device")
	relay  = flag.String("relay", "", "IPv4 address of the relay")
	port   = flag.Int("port", 443, "the relay's port")
	peers  = flag.String("peers", "", "NAME=ADDRESS with commas between")
)

const (
	mtu        = 1280 // tailscaled's
	overhead   = 32   // WireGuard's header and tag
	queueDepth = 32   // magicsock's derpWriteQueueDepth
	headroom   = 16   // what tun wants in front of a packet
	packetMax  = 65536
)

// Both ends know each other's keys by their names: this is no secret.
func keyOf(name string) key.NodePrivate {
	h := sha256.Sum256([]byte("sluice tests/bench/wan " + name))
	return key.NodePrivateFromRaw32(mem.B(h[:]))
}

type packet struct {
	to    key.NodePublic
	bytes []byte
}

// link is one connection to the relay after another.
type link struct {
	key    key.NodePrivate
	netMon *netmon.Monitor
	client atomic.Pointer[derphttp.Client]
	queue  chan packet
}

func (l *link) region() *tailcfg.DERPRegion {
	return &tailcfg.DERPRegion{RegionID: 1, RegionCode: "hub", Nodes: []*tailcfg.DERPNode{{
		Name: "1a", RegionID: 1, HostName: *relay, IPv4: *relay, IPv6: "none", DERPPort: *port,
		STUNPort: -1, InsecureForTests: true,
	}}}
}

// renew closes the connection and makes another.
func (l *link) renew() {
	c := derphttp.NewRegionClient(l.key, logger.Discard, l.netMon, l.region)
	c.SetCanAckPings(true)
	c.NotePreferred(true)
	if old := l.client.Swap(c); old != nil {
		old.Close()
	}
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := c.Connect(ctx)
		cancel()
		if err == nil || l.client.Load() != c {
			return
		}
		log.Print(err)
		time.Sleep(100 * time.Millisecond)
	}
}

// add queues a packet; when there is no room the oldest makes some.
func (l *link) add(p packet) {
	for range 3 {
		select {
		case l.queue <- p:
			return
		default:
		}
		select {
		case <-l.queue:
		default:
		}
	}
}

func (l *link) write() {
	for p := range l.queue {
		if err := l.client.Load().Send(p.to, p.bytes); err != nil {
			log.Print(err)
		}
	}
}

func (l *link) read(dev tun.Device) {
	buf := make([]byte, headroom+packetMax)
	for {
		c := l.client.Load()
		m, err := c.Recv()
		if err != nil {
			if l.client.Load() == c {
				log.Print(err)
				time.Sleep(100 * time.Millisecond)
			}
			continue
		}
		switch m := m.(type) {
		case derp.ReceivedPacket:
			if len(m.Data) > overhead {
				n := copy(buf[headroom:], m.Data[:len(m.Data)-overhead])
				if _, err := dev.Write([][]byte{buf[:headroom+n]}, headroom); err != nil {
					log.Print(err)
				}
			}
		case derp.PingMessage:
			go c.SendPong([8]byte(m))
		}
	}
}

// forward takes what the kernel sends and queues it for the peer that has the address.
func (l *link) forward(dev tun.Device, to map[netip.Addr]key.NodePublic) {
	bufs := make([][]byte, dev.BatchSize())
	sizes := make([]int, len(bufs))
	for i := range bufs {
		bufs[i] = make([]byte, headroom+packetMax)
	}
	for {
		n, err := dev.Read(bufs, sizes, headroom)
		if err != nil {
			log.Fatal(err)
		}
		for i := range n {
			ip := bufs[i][headroom : headroom+sizes[i]]
			if len(ip) < 20 || ip[0]>>4 != 4 {
				continue
			}
			peer, ok := to[netip.AddrFrom4([4]byte(ip[16:20]))]
			if !ok {
				continue
			}
			b := make([]byte, len(ip)+overhead)
			copy(b, ip)
			l.add(packet{peer, b})
		}
	}
}

func main() {
	flag.Parse()
	log.SetFlags(log.Lmicroseconds)
	unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	to := map[netip.Addr]key.NodePublic{}
	for p := range strings.SplitSeq(*peers, ",") {
		peer, address, ok := strings.Cut(p, "=")
		if !ok {
			log.Fatalf("-peers: %q is not NAME=ADDRESS", p)
		}
		to[netip.MustParseAddr(address)] = keyOf(peer).Public()
	}
	dev, err := tun.CreateTUN(*device, mtu)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for range dev.Events() {
		}
	}()
	l := &link{key: keyOf(*name), netMon: netmon.NewStatic(), queue: make(chan packet, queueDepth)}
	again := make(chan os.Signal, 1)
	signal.Notify(again, unix.SIGHUP)
	l.renew()
	fmt.Println("ready")
	var once sync.WaitGroup
	once.Go(l.write)
	once.Go(func() { l.read(dev) })
	once.Go(func() { l.forward(dev, to) })
	for range again {
		l.renew()
	}
}
