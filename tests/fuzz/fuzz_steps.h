/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz_steps.h: an input as a program of steps, and those that are the same whatever is fuzzed. A
 * part of fuzz_ground.h.
 */
#ifndef SLUICE_FUZZ_STEPS_H
#define SLUICE_FUZZ_STEPS_H

#define STEPS_MAX 400

struct input {
	const uint8_t *p;
	size_t len;
};

/* The target's: all steps that are not here. `what` is the low three bits of a step's first byte,
 * `in` what is left behind `arg`. */
static void step(uint8_t what, int who, uint8_t arg, struct input *in);

static uint8_t take(struct input *in)
{
	if (in->len == 0)
		return 0;
	in->len--;
	return *in->p++;
}

static struct input take_bytes(struct input *in, size_t n)
{
	struct input part = {in->p, MIN(n, in->len)};

	in->p += part.len;
	in->len -= part.len;
	return part;
}

/* What happens now and then. False: nothing of that. */
static bool rare_step(int who, uint8_t arg)
{
	struct client *c = &g->client[who];

	switch (arg & 7) {
	case 0: /* how what is sent is cut from now on */
		g->piece = arg >> 3;
		return true;
	case 1:
		jam(arg >> 3 & 1, arg & 0x20 ? JAM_MANY : arg & 0x10 ? JAM_ALL : JAM_RUNS);
		return true;
	case 2:
		if (c->fd >= 0)
			shutdown(c->fd, SHUT_WR);
		return true;
	case 3:
		/* It takes no more bytes, and does not end by itself. */
		if (c->fd >= 0) {
			shutdown(c->fd, SHUT_RD);
			c->ended = true;
		}
		return true;
	case 4:
		scatter(who, arg >> 3);
		return true;
	case 5:
		if (is_link(who))
			return false;
		ask(arg >> 3 & 1 ? LETTER_ASK_CLIENTS : LETTER_ASK_FLOWS);
		return true;
	default:
		return false;
	}
}

static void any_step(struct input *in)
{
	uint8_t op = take(in), what = op & 7;
	int who = (op >> 3) % CLIENTS;
	uint8_t arg = take(in);
	struct input part;

	switch (what) {
	case 0: /* bytes of the input */
		part = take_bytes(in, arg);
		send_raw(who, part.p, part.len);
		break;
	case 2: /* turns of the first, the second or both */
		turns(arg & 3 ? arg & 3 : 3, 1 + (arg >> 2 & 3));
		break;
	case 3: /* so much is read; 0: all */
		receive(who, arg ? arg * 64u : SIZE_MAX);
		break;
	case 6:
		fake_clock_ms += (uint64_t)arg * arg;
		break;
	case 7:
		if (!rare_step(who, arg))
			step(what, who, arg, in);
		break;
	default:
		step(what, who, arg, in);
		break;
	}
}

/* All steps, then whatever is still to be sent or read. */
static void run_steps(struct input *in)
{
	for (int steps = 0; in->len > 0 && steps < STEPS_MAX; steps++)
		any_step(in);
	g->piece = 0;
	settle();
	check_arrivals();
}

#endif
