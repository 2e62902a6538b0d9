// SPDX-License-Identifier: BSD-3-Clause

// Control is a control server for a tailnet of a few nodes and one DERP region: upstream's own, made
// for its tests, which takes in everyone who comes.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"

	"golang.org/x/sys/unix"
	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/logger"
)

var (
	listen  = flag.String("listen", "", "address and port to serve on")
	relay   = flag.String("relay", "", "IPv4 address of the relay")
	port    = flag.Int("port", 443, "the relay's port")
	verbose = flag.Bool("verbose", false, "log what nodes ask for")
)

func main() {
	flag.Parse()
	unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	logf := logger.Discard
	if *verbose {
		logf = log.Printf
	}
	control := &testcontrol.Server{
		Logf:            logf,
		ExplicitBaseURL: "http://" + *listen,
		AllOnline:       true,
		DERPMap: &tailcfg.DERPMap{
			OmitDefaultRegions: true,
			Regions: map[int]*tailcfg.DERPRegion{1: {
				RegionID:   1,
				RegionCode: "hub",
				RegionName: "hub",
				Nodes: []*tailcfg.DERPNode{{
					Name:             "1a",
					RegionID:         1,
					HostName:         *relay,
					IPv4:             *relay,
					IPv6:             "none",
					DERPPort:         *port,
					STUNPort:         -1,
					InsecureForTests: true,
				}},
			}},
		},
	}
	l, err := net.Listen("tcp4", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	srv := &http.Server{Handler: control}
	log.Fatal(srv.Serve(l))
}
