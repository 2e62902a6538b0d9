/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What logged-in clients send, as a small program: two workers, six connections of four keys, turn
 * by turn, on a clock of its own. Whatever clients do, in any order:
 *
 *   - what the flows and "other" hold is what was received; what was received was sent, dropped or
 *     waits; drops are booked on flows and counters alike;
 *   - what arrives are whole frames, from keys that are there, for who gets them, in order;
 *   - every connection ends for one counted reason, and gives everything back.
 *
 * The first byte sets limits, then steps follow: a byte of what (low three bits) and who, and
 * operands; see any_step() and step().
 */
#define CLIENTS 6 /* the last two are second connections of keys 0 and 2 */

#include "fuzz_ground.h"

static int key_of_client(int who)
{
	return who < KEYS ? who : (who - KEYS) * 2;
}

static bool is_mesh_peer(int who)
{
	return false;
}

static void check_link_ended(const struct link_ended_letter *l)
{
	CHECK(!"a link that never was");
}

/* ---- The program ----------------------------------------------------------------------------- */

static void step(uint8_t what, int who, uint8_t arg, struct input *in)
{
	struct input early;

	switch (what) {
	case 1: /* a packet */
		send_packet(who, arg, key_of_client(who));
		push_out(&g->client[who]);
		break;
	case 4: /* it goes, or comes, with bytes that came along */
		if (g->client[who].fd >= 0) {
			leave(who);
		} else {
			early = take_bytes(in, arg);
			login(who, early.p, (uint32_t)early.len);
		}
		break;
	case 5: /* many packets */
		for (int n = arg & 63, packet = take(in); n > 0; n--)
			send_packet(who, (uint8_t)packet, key_of_client(who));
		push_out(&g->client[who]);
		break;
	}
}

static void begin(uint8_t limits)
{
	ground_begin(limits, 0);
	for (int who = 0; who < KEYS; who++) {
		login(who, NULL, 0);
		if (limits & 4 << (who & 1))
			make_small(who);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	begin(take(&in));
	run_steps(&in);
	check_snapshot();
	ground_end();
	return 0;
}
