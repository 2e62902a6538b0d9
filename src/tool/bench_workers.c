/* SPDX-License-Identifier: BSD-3-Clause */
/* bench_workers.c: asks sluice which of its workers has which client, to choose pairs by that. */
#include <stdio.h>
#include <string.h>

#include "tool/bench_run.h"
#include "tool/flows_source.h"

static void note_worker(struct bench *b, int *worker, const struct key *k, int w)
{
	for (uint32_t i = 0; i < b->n_clients; i++)
		if (key_equal(&b->client[i].keys.public, k))
			worker[i] = w;
}

bool bench_workers(struct bench *b, int *worker)
{
	char url[ADDR_HOST_LEN + 64], err[FLOWS_ERR_LEN];
	json_t *page, *clients, *row;
	size_t i;

	for (uint32_t c = 0; c < b->n_clients; c++)
		worker[c] = -1;
	snprintf(url, sizeof(url), "%s://%s/debug/clients?format=json&limit=0&which=connected",
	    b->opt.tls ? "https" : "http", b->opt.server);
	page = flows_source_read(url, true, err);
	clients = json_object_get(page, "clients");
	if (!json_is_array(clients)) {
		bench_fail(b, "-cross: /debug/clients of the server: %s",
		    page ? "it is not sluice's" : err);
		json_decref(page);
		return false;
	}
	json_array_foreach(clients, i, row)
	{
		const char *key = json_string_value(json_object_get(row, "key"));
		const json_t *w = json_object_get(row, "worker");
		struct key k;

		if (key && json_is_integer(w) && key_parse(key, &k))
			note_worker(b, worker, &k, (int)json_integer_value(w));
	}
	json_decref(page);
	return true;
}
