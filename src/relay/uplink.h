/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uplink.h: a client's line towards us: looked at while it sends much, so that what it sends does
 * not stand in a buffer of its own line (shed.h).
 *
 * The kernel is asked (TCP_INFO) every 10 to 40 ms while bytes come, but not more than once for
 * 16 KiB. Nothing of this is kept for a client that sent little, nor for one that is near.
 */
#ifndef SLUICE_RELAY_UPLINK_H
#define SLUICE_RELAY_UPLINK_H

#include <stdbool.h>

/* Who sent no more than this, ever, needs no care. */
#define UPLINK_QUIET_BYTES (256u << 10)
/* What is dropped is large: a packet of a transfer, not of a terminal or a voice. */
#define UPLINK_PACKET_MIN 600

struct conn;

/* The client has sent as many bytes as it is looked at for (c->uplink_look): asks the kernel, and
 * sets c->shed while a large packet is to be dropped. */
void uplink_look(struct conn *c);
/* A large packet is at hand and c->shed is set: whether to drop it now; then it counts as done. */
bool uplink_sheds(struct conn *c);

#endif
