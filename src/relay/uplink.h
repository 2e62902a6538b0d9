/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uplink.h: a client's line towards us: looked at while it sends much, so that what it sends does
 * not stand in a buffer of its own line (shed.h).
 *
 * Nothing of this is kept for a client that sent little; one that is near is looked at rarely.
 */
#ifndef SLUICE_RELAY_UPLINK_H
#define SLUICE_RELAY_UPLINK_H

/* Who sent no more than this, ever, needs no care. */
#define UPLINK_QUIET_BYTES (256u << 10)
/* What is dropped is large: a packet of a transfer, not of a terminal or a call. */
#define UPLINK_PACKET_MIN 600

struct conn;

/* The client has sent as many bytes as it should be looked at for (c->uplink_look): asks the
 * kernel, and sets c->shed when a packet of this receive is to be dropped. */
void uplink_look(struct conn *c);

#endif
