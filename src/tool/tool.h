/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tool.h: the subcommands of the program, once: main's dispatch and `sluice help` come from here.
 *
 * Each is called with its own name as argv[0] and returns the process's exit status: 0, 1 when it
 * failed, 2 when it was called wrongly.
 */
#ifndef SLUICE_TOOL_TOOL_H
#define SLUICE_TOOL_TOOL_H

/* SUBCOMMAND(name, help); its function is <name>_main, an empty help hides it. */
#define SUBCOMMANDS(X)                                        \
	X(serve, "run the relay; the default")                \
	X(bench, "put load on a DERP server and measure it")  \
	X(flows, "show the flows of several nodes as one")    \
	X(keygen, "make a key file and print the public key") \
	X(options, "")                                        \
	X(version, "print the version")                       \
	X(help, "print this help")

#define X(name, help) int name##_main(int argc, char **argv);
SUBCOMMANDS(X)
#undef X

#endif
