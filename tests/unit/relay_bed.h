/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * relay_bed.h: workers without threads, for tests that go turn by turn.
 *
 * Clients are the far ends of socket pairs, logged in by a letter as the gate writes it. No TLS, no
 * time that passes by itself: what happens is decided by the test alone.
 */
#ifndef SLUICE_TESTS_RELAY_BED_H
#define SLUICE_TESTS_RELAY_BED_H

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "relay/worker.h"

#define BED_WORKERS 2

struct bed {
	struct relay_config config;
	struct mesh *mesh; /* with bed_mesh */
	struct mail *mail;
	struct worker *worker[BED_WORKERS];
	uint64_t logins;
};

struct bed_client {
	struct key key;
	int fd;
	int owner;
};

static inline void bed_init(struct bed *b, uint32_t flow_limit)
{
	log_set_level(LOG_ERROR);
	key_hash_init();
	*b = (struct bed){.config = {
			      .workers = BED_WORKERS,
			      .flow_limit = flow_limit,
			      .write_timeout_ms = 2000,
			      .queue_memory = 64u << 20,
			  }};
	b->mail = mail_new(BED_WORKERS);
	for (int i = 0; i < BED_WORKERS; i++)
		b->worker[i] = worker_new(i, &b->config, b->mail, clock_ms());
}

/* Both workers, often enough for any letter to be answered. */
static inline void bed_turns(struct bed *b, int n)
{
	for (int i = 0; i < n; i++)
		for (int w = 0; w < BED_WORKERS; w++)
			worker_turn(b->worker[w], false);
}

/* A key whose owner is that worker. */
static inline struct key bed_key(int owner)
{
	struct key k;

	do {
		for (int i = 0; i < KEY_LEN; i++)
			k.b[i] = (uint8_t)(rand() >> 7);
	} while (key_owner(key_hash(&k), BED_WORKERS) != owner);
	return k;
}

/* Hands a connection to its owner as the gate does; `facts` are copied. */
static inline struct bed_client bed_admit(
    struct bed *b, const struct admit *facts, const void *early, uint32_t early_len)
{
	int owner = key_owner(key_hash(&facts->info.key), BED_WORKERS);
	struct bed_client c = {.key = facts->info.key, .owner = owner};
	struct admit *a = malloc(sizeof(*a) + early_len);
	struct admit **letter;
	int fd[2];

	CHECK(a && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) == 0);
	*a = *facts;
	c.fd = fd[1];
	a->fd = fd[0];
	a->early_len = early_len;
	if (early_len)
		memcpy(a->early, early, early_len);
	letter = mail_reserve(b->mail, mail_gate(b->mail), owner, LETTER_ADMIT, sizeof(a), true);
	CHECK(letter);
	*letter = a;
	mail_commit(b->mail, mail_gate(b->mail), owner);
	mail_publish(b->mail, mail_gate(b->mail));
	bed_turns(b, 1);
	return c;
}

static inline struct bed_client bed_login_as(
    struct bed *b, struct admit facts, const void *early, uint32_t early_len)
{
	facts.number = ++b->logins;
	frame_put_header(facts.server_info, FRAME_SERVER_INFO, 3);
	memcpy(facts.server_info + FRAME_HEADER_LEN, "hi!", 3);
	facts.server_info_len = FRAME_HEADER_LEN + 3;
	return bed_admit(b, &facts, early, early_len);
}

static inline struct bed_client bed_login(
    struct bed *b, struct key key, const void *early, uint32_t early_len)
{
	return bed_login_as(b, (struct admit){.info.key = key}, early, early_len);
}

/* A mesh of that many links, all down; right after bed_init. */
static inline void bed_mesh(struct bed *b, int links)
{
	CHECK(posix_memalign((void **)&b->mesh, 64, sizeof(*b->mesh)) == 0);
	memset(b->mesh, 0, sizeof(*b->mesh));
	b->mesh->n = links;
	b->mesh->peers = calloc(BED_WORKERS, sizeof(*b->mesh->peers));
	CHECK(b->mesh->peers);
	b->config.mesh = b->mesh;
	b->config.server_key.b[0] = 1;
}

/* The connection of a link comes up: the test is the other node. */
static inline struct bed_client bed_link(struct bed *b, uint8_t link, struct key server)
{
	struct admit facts = {
	    .info.key = server,
	    .is_link = true,
	    .link = link,
	    .epoch = ++b->mesh->link[link].epoch,
	};
	struct bed_client c = bed_admit(b, &facts, NULL, 0);

	bed_turns(b, 1);
	return c;
}

/* So many letters that mean nothing for a worker or the gate; 0: until it takes no more. */
static inline void bed_fill(struct bed *b, int from, int to, int letters)
{
	struct watch_letter *l;

	for (int n = 0; letters == 0 || n < letters; n++) {
		l = mail_reserve(b->mail, from, to, LETTER_WATCH_ACK, sizeof(*l), true);
		if (!l)
			return;
		*l = (struct watch_letter){.ref = {.slot = UINT32_MAX}};
		mail_commit(b->mail, from, to);
	}
}

static inline void bed_drop_letter(void *arg, int from, const struct letter *l)
{
	relay_letter_free(l);
}

static inline void bed_fini(struct bed *b)
{
	for (int i = 0; i < BED_WORKERS; i++)
		worker_close_all(b->worker[i]);
	for (int t = 0; t <= mail_main(b->mail); t++)
		while (mail_drain(b->mail, t, 1000, bed_drop_letter, NULL))
			;
	for (int i = 0; i < BED_WORKERS; i++)
		worker_free(b->worker[i]);
	mail_free(b->mail);
	if (b->mesh)
		free(b->mesh->peers);
	free(b->mesh);
}

/* What both workers have counted. */
static inline struct counters bed_counters(const struct bed *b)
{
	struct counters sum = {0};

	for (int i = 0; i < BED_WORKERS; i++)
		counters_add(&sum, &b->worker[i]->counters);
	return sum;
}

/* A whole SendPacket frame into out; returns its length. */
static inline size_t bed_packet(uint8_t *out, const struct key *dst, const void *p, uint32_t len)
{
	frame_put_header(out, FRAME_SEND_PACKET, KEY_LEN + len);
	memcpy(out + FRAME_HEADER_LEN, dst->b, KEY_LEN);
	if (len)
		memcpy(out + FRAME_PACKET_HEAD, p, len);
	return FRAME_PACKET_HEAD + len;
}

#endif
