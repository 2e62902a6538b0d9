/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * batch.h: what goes into one send: pieces of a connection's output, in order, where they lie.
 *
 * At most BATCH_BYTES, less to a client on a slow path, unless a single run is longer. Once
 * gathered, packets count as sent: if the socket does not take the bytes, they are kept, not
 * dropped.
 */
#ifndef SLUICE_RELAY_BATCH_H
#define SLUICE_RELAY_BATCH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define BATCH_BYTES (64u << 10)
#define BATCH_IOV 128

struct conn;

struct batch {
	struct iovec iov[BATCH_IOV];
	int n;
	size_t bytes, limit;
	uint32_t packets;
	uint32_t waited;   /* of them, those that came from the queue */
	uint32_t controls; /* control frames */
	uint64_t payload;
	uint64_t delay_ms; /* longest wait of a packet in it */
};

/* Takes what is next off the connection's queues: control frames, then what waits in the order of
 * its queue, or what is fresh, disco before data. n is 0 when all that waited was too old. */
void batch_gather(struct conn *c, struct batch *b, size_t limit);
/* It is on its way: counts it as sent. */
void batch_count(struct conn *c, const struct batch *b);

#endif
