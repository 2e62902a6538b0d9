package interop

import (
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"

	"tailscale.com/derp"
)

// fetch does one request and returns the answer with its body read.
func fetch(t *testing.T, s *server, method, path string, header http.Header) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.url(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		request.Header = header
	}
	response, err := s.httpClient(t).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func wantStatus(t *testing.T, response *http.Response, status int) {
	t.Helper()
	if response.StatusCode != status {
		asked := response.Request
		t.Fatalf("%s %s answered %s, want %d", asked.Method, asked.URL.Path, response.Status, status)
	}
}

func wantHeader(t *testing.T, header http.Header, name, value string) {
	t.Helper()
	if got := header.Get(name); got != value {
		t.Errorf("%s: %q, want %q", name, got, value)
	}
}

func TestUpgradeAnswer(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		st := open(t, s)
		wantHeader(t, st.answer, "Upgrade", "DERP")
		wantHeader(t, st.answer, "Connection", "Upgrade")
		wantHeader(t, st.answer, "Derp-Version", "2")
		wantHeader(t, st.answer, "Derp-Public-Key", s.key.UntypedHexString())
		st.greet(t)
		if st.server != s.key {
			t.Fatalf("greeted by %v, want %v", st.server, s.key)
		}
	})
}

// The name is compared without case, and very old clients ask for WebSocket, mean plain DERP and
// name no subprotocol.
func TestUpgradeNames(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		for _, name := range []string{"derp", "DeRp", "WebSocket", "websocket"} {
			t.Run(name, func(t *testing.T) {
				exchange(t, upgrade(t, s, s.dial(t), name).join(t), connect(t, s))
			})
		}
	})
}

func TestUpgradeRequired(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		response, _ := fetch(t, s, "GET", "/derp", nil)
		wantStatus(t, response, http.StatusUpgradeRequired)
		response, _ = fetch(t, s, "GET", "/derp", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"h2c"}})
		wantStatus(t, response, http.StatusUpgradeRequired)
	})
}

func TestProbePages(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		for _, path := range []string{"/derp/probe", "/derp/latency-check"} {
			for _, method := range []string{"GET", "HEAD"} {
				response, body := fetch(t, s, method, path, nil)
				wantStatus(t, response, http.StatusOK)
				wantHeader(t, response.Header, "Access-Control-Allow-Origin", "*")
				if body != "" {
					t.Errorf("%s %s has a body: %q", method, path, body)
				}
			}
			for _, method := range []string{"POST", "PUT", "DELETE"} {
				response, _ := fetch(t, s, method, path, nil)
				wantStatus(t, response, http.StatusMethodNotAllowed)
			}
		}
	})
}

func TestNoContentPage(t *testing.T) {
	long := strings.Repeat("x", 64)
	onBoth(t, func(t *testing.T, s *server) {
		for _, c := range []struct{ name, challenge, answer string }{
			{"no challenge", "", ""},
			{"usual challenge", "ts_derp-1.example:443", "response ts_derp-1.example:443"},
			{"longest challenge", long, "response " + long},
			{"too long", long + "x", ""},
			{"bad character", "a b", ""},
			{"not ASCII", "a\u00e9", ""},
		} {
			t.Run(c.name, func(t *testing.T) {
				header := http.Header{}
				if c.challenge != "" {
					header.Set("X-Tailscale-Challenge", c.challenge)
				}
				response, _ := fetch(t, s, "GET", "/generate_204", header)
				wantStatus(t, response, http.StatusNoContent)
				wantHeader(t, response.Header, "X-Tailscale-Response", c.answer)
				wantHeader(t, response.Header, "Cache-Control",
					"no-cache, no-store, must-revalidate, no-transform, max-age=0")
			})
		}
		response, _ := fetch(t, s, "GET", "/generate_204?t=1234", nil)
		wantStatus(t, response, http.StatusNoContent)
	})
}

func TestPages(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		for _, page := range []struct{ path, contains string }{
			{"/", "<html"},
			{"/no/such/page", "<html"},
			{"/derp/no-such-page", "<html"},
			{"/robots.txt", "User-agent: *\nDisallow: /\n"},
		} {
			t.Run(page.path, func(t *testing.T) {
				response, body := fetch(t, s, "GET", page.path, nil)
				wantStatus(t, response, http.StatusOK)
				if !strings.Contains(strings.ToLower(body), strings.ToLower(page.contains)) {
					t.Errorf("body lacks %q:\n%s", page.contains, body)
				}
				wantBrowserHeaders(t, response.Header)
			})
		}
	})
}

func wantBrowserHeaders(t *testing.T, header http.Header) {
	t.Helper()
	wantHeader(t, header, "Strict-Transport-Security", "max-age=63072000; includeSubDomains")
	wantHeader(t, header, "X-Frame-Options", "DENY")
	wantHeader(t, header, "X-Content-Type-Options", "nosniff")
	policy := header.Get("Content-Security-Policy")
	for _, rule := range []string{"default-src 'self'", "frame-ancestors 'none'", "object-src 'none'"} {
		if !strings.Contains(policy, rule) {
			t.Errorf("Content-Security-Policy %q lacks %q", policy, rule)
		}
	}
}

func TestKeepAlive(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		client := s.httpClient(t)
		reused := false
		trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }}
		ctx := httptrace.WithClientTrace(t.Context(), trace)
		for i, path := range []string{"/derp/probe", "/generate_204", "/robots.txt", "/"} {
			request, err := http.NewRequestWithContext(ctx, "GET", s.url(path), nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
			if i > 0 && !reused {
				t.Errorf("connection not reused for %s", path)
			}
		}
	})
}

// Requests may be pipelined, and an upgrade may follow other requests on its connection.
func TestUpgradeBehindOtherRequests(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		conn := &corkedConn{Conn: s.dial(t)}
		st := newStream(conn)
		var requests []*http.Request
		for _, path := range []string{"/derp/probe", "/generate_204"} {
			request, err := http.NewRequest("GET", s.url(path), nil)
			if err != nil {
				t.Fatal(err)
			}
			requests = append(requests, request)
		}
		requests = append(requests, upgradeRequest(t, s, "DERP"))
		for _, request := range requests {
			if err := request.Write(st); err != nil {
				t.Fatal(err)
			}
		}
		st.Flush()
		conn.uncork(t)
		for i, status := range []int{http.StatusOK, http.StatusNoContent, http.StatusSwitchingProtocols} {
			response, err := http.ReadResponse(st.Reader, requests[i])
			if err != nil {
				t.Fatal(err)
			}
			response.Request = requests[i]
			wantStatus(t, response, status)
		}
		exchange(t, st.join(t), connect(t, s))
	})
}

// Some proxies put more into the Connection header.
func TestUpgradeWithLongConnectionHeader(t *testing.T) {
	onBoth(t, func(t *testing.T, s *server) {
		st := newStream(s.dial(t))
		request := upgradeRequest(t, s, "DERP")
		request.Header.Set("Connection", "keep-alive, Upgrade")
		request.Header.Set(derp.IdealNodeHeader, "900a")
		request.Write(st)
		st.Flush()
		response, err := http.ReadResponse(st.Reader, request)
		if err != nil {
			t.Fatal(err)
		}
		wantStatus(t, response, http.StatusSwitchingProtocols)
		st.join(t).sync(t)
	})
}

// A server is no proxy.
func TestConnectIsRefused(t *testing.T) {
	s := startTLS(t)
	st := newStream(s.dial(t))
	io.WriteString(st, "CONNECT peer.example:443 HTTP/1.1\r\nHost: peer.example:443\r\n\r\n")
	st.Flush()
	response, err := http.ReadResponse(st.Reader, &http.Request{Method: "CONNECT"})
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusForbidden {
		t.Fatalf("CONNECT answered %s, want 403", response.Status)
	}
}
