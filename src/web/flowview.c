/* SPDX-License-Identifier: BSD-3-Clause */
#include "web/flowview.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "web/order.h"

/* Characters of a key in its short form: six bits each. */
#define SHORT_CHARS 5

static const struct flow_part *part_of(const struct shot *s, int worker)
{
	return s->part[worker].part;
}

static void totals_add(struct flow_totals *sum, const struct flow_totals *t)
{
	sum->flows += t->flows;
	sum->packets += t->packets;
	sum->bytes += t->bytes;
	sum->disco_packets += t->disco_packets;
	sum->disco_bytes += t->disco_bytes;
	sum->mesh_packets += t->mesh_packets;
	sum->mesh_bytes += t->mesh_bytes;
	sum->fwded_packets += t->fwded_packets;
	sum->fwded_bytes += t->fwded_bytes;
	for (int r = 0; r < DROP_REASON_COUNT; r++) {
		sum->drop_packets[r] += t->drop_packets[r];
		sum->drop_bytes[r] += t->drop_bytes[r];
	}
}

static void totals_add_row(struct flow_totals *sum, const struct flow_row *row)
{
	sum->flows++;
	sum->packets += row->packets;
	sum->bytes += row->bytes;
	sum->disco_packets += row->disco_packets;
	sum->disco_bytes += row->disco_bytes;
	if (!key_is_zero(&row->recv_from)) {
		sum->mesh_packets += row->packets;
		sum->mesh_bytes += row->bytes;
	}
	sum->fwded_packets += row->fwded_packets;
	sum->fwded_bytes += row->fwded_bytes;
	for (int r = 0; r < DROP_REASON_COUNT; r++) {
		sum->drop_packets[r] += row->drop_packets[r];
		sum->drop_bytes[r] += row->drop_bytes[r];
	}
}

/* Where a worker's slots are found among the rows of its part. */
struct slot_index {
	uint32_t *row; /* n entries: a row's number and 1, 0 for none */
	uint32_t n;
};

static struct slot_index slot_index_new(const struct flow_part *p)
{
	struct slot_index x = {0};

	for (uint32_t i = 0; i < p->n; i++)
		x.n = MAX(x.n, p->row[i].slot + 1);
	x.row = must_calloc(MAX(x.n, 1), sizeof(*x.row));
	for (uint32_t i = 0; i < p->n; i++)
		x.row[p->row[i].slot] = i + 1;
	return x;
}

static uint64_t per_second(uint64_t now, uint64_t before, uint64_t ms)
{
	/* Counters never go back; a bug that made one do so should not show as 2^64. */
	return now > before ? (now - before) * 1000 / ms : 0;
}

/* Rates of one worker's rows, against its part of the earlier snapshot. */
static void rates(struct flow_rate *rate, const struct shot *now, const struct shot *before, int w)
{
	const struct flow_part *p = part_of(now, w), *old = part_of(before, w);
	struct slot_index index = slot_index_new(old);
	uint64_t ms = now->part[w].at_ms - before->part[w].at_ms;

	ms = MAX(ms, 1);
	for (uint32_t i = 0; i < p->n; i++) {
		const struct flow_row *row = &p->row[i];
		uint32_t at = row->slot < index.n ? index.row[row->slot] : 0;
		uint64_t bytes = 0, packets = 0;

		/* A slot with another generation was another flow's: this one began since. */
		if (at && old->row[at - 1].gen == row->gen) {
			bytes = old->row[at - 1].bytes;
			packets = old->row[at - 1].packets;
		}
		rate[i].bytes_per_s = per_second(row->bytes, bytes, ms);
		rate[i].packets_per_s = per_second(row->packets, packets, ms);
	}
	free(index.row);
}

static void *derive(const struct shot *s, const struct shot *base)
{
	struct flow_view *v = must_calloc(1, sizeof(*v));
	uint32_t n = 0;

	v->interval_ms = s->at_ms - base->at_ms;
	for (int w = 0; w < s->nparts; w++)
		v->n += part_of(s, w)->n;
	v->row = must_calloc(MAX(v->n, 1), sizeof(*v->row));
	v->rate = must_calloc(MAX(v->n, 1), sizeof(*v->rate));
	for (int w = 0; w < s->nparts; w++) {
		const struct flow_part *p = part_of(s, w);

		rates(&v->rate[n], s, base, w);
		totals_add(&v->other, &p->other);
		for (uint32_t i = 0; i < p->n; i++) {
			v->row[n++] = &p->row[i];
			totals_add_row(&v->totals, &p->row[i]);
		}
	}
	totals_add(&v->totals, &v->other);
	v->totals.flows = v->n;
	return v;
}

static void free_view(void *view)
{
	struct flow_view *v = view;

	for (int i = 0; i < FLOW_SORT_COUNT; i++)
		free(v->order[i]);
	free(v->row);
	free(v->rate);
	free(v);
}

const struct gather_kind flow_gather = {
    .letter = LETTER_ASK_FLOWS,
    .pairs = true,
    .derive = derive,
    .free_view = free_view,
};

struct ranking {
	const struct flow_view *view;
	enum flow_sort by;
};

static void rank_row(const void *arg, struct rank *r)
{
	const struct ranking *ranking = arg;
	const struct flow_view *v = ranking->view;
	const struct flow_row *row = v->row[r->row];

	switch (ranking->by) {
	case FLOW_BY_BYTES_PER_S:
		r->a = v->rate[r->row].bytes_per_s;
		r->b = row->bytes;
		return;
	case FLOW_BY_BYTES:
		r->a = row->bytes;
		r->b = row->packets;
		return;
	case FLOW_BY_PACKETS:
		r->a = row->packets;
		r->b = row->bytes;
		return;
	case FLOW_BY_LAST_ACTIVE:
		r->a = row->last_ds;
		r->b = row->bytes;
		return;
	case FLOW_SORT_COUNT:
		break;
	}
	CHECK(false);
}

const uint32_t *flow_view_order(struct flow_view *v, enum flow_sort by)
{
	struct ranking ranking = {v, by};

	CHECK(by < FLOW_SORT_COUNT);
	if (!v->order[by])
		v->order[by] = order_new(v->n, rank_row, &ranking);
	return v->order[by];
}

/* The 30 bits of a key that its short form shows. */
static uint32_t short_bits(const struct key *k)
{
	return ((uint32_t)k->b[0] << 24 | (uint32_t)k->b[1] << 16 | (uint32_t)k->b[2] << 8 |
		   k->b[3]) >>
	       2;
}

static bool parse_short(const char *text, struct key_select *sel)
{
	char b64[] = "[abcde]";
	size_t len;

	if (strlen(text) != SHORT_CHARS + 2 || text[0] != '[' || text[SHORT_CHARS + 1] != ']')
		return false;
	memcpy(b64, text + 1, SHORT_CHARS);
	/* Behind the five characters as many zero bits as make whole bytes. */
	memcpy(b64 + SHORT_CHARS, "AAA", 3);
	for (int i = 0; i < SHORT_CHARS; i++)
		if (b64[i] == ' ')
			b64[i] = '+'; /* in a query a '+' that wasn't escaped is a space */
	sel->how = SELECT_SHORT;
	return sodium_base642bin(sel->key.b, KEY_LEN, b64, 8, NULL, &len, NULL,
		   sodium_base64_VARIANT_ORIGINAL) == 0 &&
	       len == 6;
}

bool key_select_parse(const char *text, struct key_select *sel)
{
	*sel = (struct key_select){.how = SELECT_KEY};
	return text[0] == '[' ? parse_short(text, sel) : key_parse(text, &sel->key);
}

bool key_selected(const struct key_select *sel, const struct key *k)
{
	switch (sel->how) {
	case SELECT_ALL:
		return true;
	case SELECT_KEY:
		return key_equal(&sel->key, k);
	case SELECT_SHORT:
		return short_bits(&sel->key) == short_bits(k);
	}
	return false;
}
