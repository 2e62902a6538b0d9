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
 * operands; see step().
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

static void step(struct input *in)
{
	uint8_t op = take(in);
	int who = (op >> 3) % CLIENTS;
	uint8_t arg = take(in);
	struct input part;

	switch (op & 7) {
	case 0: /* bytes of the input */
		part = take_bytes(in, arg);
		send_raw(who, part.p, part.len);
		break;
	case 1: /* a packet */
		send_packet(who, arg, key_of_client(who));
		push_out(&g->client[who]);
		break;
	case 2: /* turns of the first, the second or both */
		turns(arg & 3 ? arg & 3 : 3, 1 + (arg >> 2 & 3));
		break;
	case 3: /* so much is read; 0: all */
		receive(who, arg ? arg * 64u : SIZE_MAX);
		break;
	case 4: /* it goes, or comes, with bytes that came along */
		if (g->client[who].fd >= 0) {
			leave(who);
		} else {
			part = take_bytes(in, arg);
			login(who, part.p, (uint32_t)part.len);
		}
		break;
	case 5: /* many packets */
		for (int n = arg & 63, what = take(in); n > 0; n--)
			send_packet(who, (uint8_t)what, key_of_client(who));
		push_out(&g->client[who]);
		break;
	case 6:
		fake_clock_ms += (uint64_t)arg * arg;
		break;
	case 7:
		if (!common_step(who, arg) && (arg & 7) == 5)
			ask(arg >> 3 & 1 ? LETTER_ASK_CLIENTS : LETTER_ASK_FLOWS);
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
	for (int steps = 0; in.len > 0 && steps < 400; steps++)
		step(&in);
	g->piece = 0;
	settle();
	check_arrivals();
	check_snapshot();
	ground_end();
	return 0;
}
