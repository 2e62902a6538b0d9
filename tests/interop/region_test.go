package interop

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/types/key"
)

// meshKeyText is the key that all nodes of all regions share.
const meshKeyText = "6d657368206f66207465737473206d657368206f66207465737473206d657368"

// Kinds of nodes.
const (
	tested = false // the server under test
	derper = true  // upstream's
)

// A region is several nodes that know each other. Node i dials node j at 127.0.0.(2+i), where the
// wire from i to j listens.
type region []*server

// mixes are the regions that clients should find no difference between.
var mixes = map[string][]bool{
	"two":                {tested, tested},
	"three":              {tested, tested, tested},
	"beside derper":      {tested, derper},
	"derper first":       {derper, tested},
	"two beside derper":  {tested, tested, derper},
	"beside two derpers": {tested, derper, derper},
}

// onMixes runs a test on each of these regions.
func onMixes(t *testing.T, test func(t *testing.T, r region)) {
	t.Parallel()
	for name, kinds := range mixes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, startRegion(t, kinds, everybody))
		})
	}
}

// everybody dials everybody, itself too, as operators configure it.
func everybody(from, to int) bool { return true }

// startRegion starts nodes and waits until all that should be are watched.
func startRegion(t *testing.T, kinds []bool, dials func(from, to int) bool) region {
	t.Helper()
	shared := sharedFiles(t)
	r := make(region, len(kinds))
	for i, addr := range quietAddresses(t, len(kinds)) {
		r[i] = &server{addr: addr, fixed: true, derper: kinds[i], home: t.TempDir(), roots: x509.NewCertPool()}
	}
	for i, s := range r {
		s.flags = r.flagsOf(t, i, shared, dials)
		s.start(t, s.flags...)
	}
	r.settle(t, dials)
	return r
}

// flagsOf one node, whose wires are laid; derper has an environment instead of some.
func (r region) flagsOf(t *testing.T, i int, shared string, dials func(from, to int) bool) []string {
	t.Helper()
	certificate := filepath.Join(shared, "127.0.0.1.crt")
	flags := []string{"-certmode", "manual", "-certdir", shared,
		"-mesh-psk-file", filepath.Join(shared, "mesh.key")}
	var hosts []string
	for j, other := range r {
		if dials(i, j) {
			via := fmt.Sprintf("127.0.0.%d", 2+i)
			stretch(t, net.JoinHostPort(via, strconv.Itoa(other.port())), other.addr)
			hosts = append(hosts, other.addr+"/"+via)
		}
	}
	if hosts != nil {
		flags = append(flags, "-mesh-with", strings.Join(hosts, ","))
	}
	if r[i].derper || onOracle {
		r[i].env = []string{"SSL_CERT_FILE=" + certificate}
	} else {
		flags = append(flags, "-mesh-ca", certificate)
	}
	return flags
}

// settle waits until every node is watched by all that dial it: news then travel by themselves.
func (r region) settle(t *testing.T, dials func(from, to int) bool) {
	t.Helper()
	for i, s := range r {
		want := 0
		for j := range r {
			if i != j && dials(j, i) {
				want++
			}
		}
		eventually(t, fmt.Sprintf("node %d has %d watchers", i, want), func() bool {
			return s.metric(t, "watchers") == float64(want)
		})
	}
}

// sharedFiles are one certificate, which is its own authority, and the mesh key.
func sharedFiles(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	certificate, _ := selfSigned(t)
	private, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"127.0.0.1.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}),
		"127.0.0.1.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		"mesh.key":      []byte(meshKeyText + "\n"),
	} {
		if err := os.WriteFile(filepath.Join(directory, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

// quietAddresses are free, and below the ports that the kernel gives to outgoing connections, for
// they are named to others some time before their servers listen.
func quietAddresses(t *testing.T, n int) (addresses []string) {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(10000+rand.IntN(20000))))
		if err != nil {
			continue
		}
		defer l.Close() // only then, so that none comes twice
		if addresses = append(addresses, l.Addr().String()); len(addresses) == n {
			return addresses
		}
	}
	t.Fatal("no free ports found")
	return nil
}

// stretch lays a wire: what connects to from is connected to the server at to, for which the first
// connections wait. Once the server has been there they are reset when it isn't.
func stretch(t *testing.T, from, to string) {
	t.Helper()
	listener, err := net.Listen("tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for patience := deadline; ; patience = 0 {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			go carry(near.(*net.TCPConn), to, patience)
		}
	}()
}

func carry(near *net.TCPConn, to string, patience time.Duration) {
	defer near.Close()
	conn, err := net.Dial("tcp", to)
	for end := time.Now().Add(patience); errors.Is(err, syscall.ECONNREFUSED) && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
		conn, err = net.Dial("tcp", to)
	}
	if err != nil {
		near.SetLinger(0)
		return
	}
	far := conn.(*net.TCPConn)
	defer far.Close()
	done := make(chan struct{})
	go func() {
		io.Copy(far, near)
		far.CloseWrite()
		close(done)
	}()
	io.Copy(near, far)
	near.CloseWrite()
	<-done
}

// introduce returns once packets from one peer reach the other, which they do when the nodes between
// them have heard of it. Nothing is left on the way.
func introduce(t *testing.T, from, to *peer) {
	t.Helper()
	reached := false
	eventually(t, "a packet gets through", func() bool {
		from.send(t, to.key, []byte("anybody there?"))
		select {
		case message, ok := <-to.messages:
			if !ok {
				t.Fatal("connection ended: ", to.ended)
			}
			_, reached = message.(derp.ReceivedPacket)
		case <-time.After(50 * time.Millisecond):
		}
		return reached
	})
	from.send(t, to.key, []byte("so you are"))
	for {
		packet, err := nextPacket(to)
		if err != nil {
			t.Fatal(err)
		}
		if string(packet.Data) == "so you are" {
			return
		}
	}
}

// newMeshClient prepares a client that may do what nodes may.
func newMeshClient(t *testing.T, s *server) *derphttp.Client {
	t.Helper()
	client := newDERPHTTP(t, s, key.NewNode())
	var err error
	if client.MeshKey, err = key.ParseDERPMesh(meshKeyText); err != nil {
		t.Fatal(err)
	}
	return client
}
