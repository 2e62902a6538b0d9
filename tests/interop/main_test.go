// Package interop drives a running DERP server with Tailscale's own client and checks what the
// client sees. The server under test is a binary named by the environment, so the same tests judge
// sluice and upstream's derper; README.md tells how to run them.
package interop

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// The environment that run.sh sets.
var (
	serverBinary = os.Getenv("INTEROP_SERVER")
	serverFlags  = strings.Fields(os.Getenv("INTEROP_FLAGS"))
	derperBinary = os.Getenv("INTEROP_DERPER")
	onOracle     = os.Getenv("INTEROP_ORACLE") == "1"
)

// deadline is how long a test waits for something that must happen. It is generous because the
// machine may be busy: a healthy server takes milliseconds.
const deadline = 10 * time.Second

// silence is how long a test listens for something that must not happen.
const silence = 300 * time.Millisecond

func TestMain(m *testing.M) {
	if _, err := exec.LookPath(serverBinary); err != nil {
		fmt.Fprintln(os.Stderr, "interop: INTEROP_SERVER must name the server binary to test:", err)
		os.Exit(2)
	}
	if _, err := exec.LookPath(derperBinary); err != nil {
		fmt.Fprintln(os.Stderr, "interop: INTEROP_DERPER must name upstream's derper:", err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// skipOnOracle skips an assertion that derper itself does not meet. Every call says why, so that
// nothing is lost in silence; README.md lists them.
func skipOnOracle(t *testing.T, why string) {
	t.Helper()
	if onOracle {
		t.Skip("SKIPPED ON THE ORACLE: " + why)
	}
}

// eventually polls until ok, for what the server does in its own time without telling anyone.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", deadline, what)
		}
	}
}
