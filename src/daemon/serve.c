/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * serve.c: puts the relay together, waits for the signal to stop, takes it apart.
 *
 * Main owns signals, certificates and the log; it never touches a packet. Its loop waits on the
 * signals and on its mailbox, into which the other threads write their log lines.
 */
#include "daemon/serve.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mail.h"
#include "daemon/certs.h"
#include "daemon/congestion_plan.h"
#include "daemon/file.h"
#include "daemon/keyfile.h"
#include "daemon/listen.h"
#include "daemon/mesh_config.h"
#include "gate/gate.h"
#include "gate/stun_server.h"
#include "io/provider.h"
#include "io/tls.h"
#include "relay/worker.h"
#include "web/site.h"

/* Memory for packets that wait for slow clients, all workers together. */
#define QUEUE_MEMORY ((size_t)512 << 20)
#define CERT_CHECK_MS 86400000
#define CERT_RETRY_MS 3600000
#define ERR_LEN 512

struct relay {
	const struct options *options;
	uint64_t start_ms;
	struct login_keys keys;
	struct congestion_plan congestion;
	struct relay_config relay_config;
	struct gate_config gate_config;
	struct mesh *mesh; /* NULL: there is none */
	struct mail *mail;
	struct worker **worker;
	struct gate *gate;
	struct site *site;
	struct stun_server *stun;
	const struct counters **counters;
	const uint64_t **queue_delays;
	bool key_created;
	char debug_key[DEBUG_KEY_MAX + 1];
	pthread_t *threads;
	int nthreads;
	struct listen_plan plan; /* sockets; the gate's once it exists */
	SSL_CTX *ctx;            /* main's reference to what the gate uses; NULL without TLS */
	SSL_CTX *mesh_ctx;       /* for dialling; NULL without links */
	uint64_t renew_wall_ms, warn_wall_ms;
};

/* ---- Log and certificates, main's own work --------------------------------------------------- */

static void read_letter(void *arg, int from, const struct letter *l)
{
	CHECK(l->kind == LETTER_LOG);
	log_write((const char *)l->body, l->len);
}

/* The meta certificate ends after a month, and files may have been renewed: once it is time, the
 * gate gets a fresh context. When that fails, it keeps the old one, and we try again. */
static void renew_certs(struct relay *r)
{
	uint64_t wall = clock_wall_ms();
	char err[ERR_LEN];
	SSL_CTX *ctx;

	if (!r->options->tls)
		return;
	if (wall >= r->warn_wall_ms) {
		r->warn_wall_ms = wall + CERT_CHECK_MS;
		certs_warn_expiry(r->ctx);
	}
	if (wall < r->renew_wall_ms)
		return;
	ctx = certs_server_ctx(r->options, &r->keys, err, sizeof(err));
	if (!ctx) {
		log_error("the certificates could not be renewed, the old ones stay: %s", err);
		r->renew_wall_ms = wall + CERT_RETRY_MS;
		return;
	}
	r->renew_wall_ms = certs_renew_at(ctx);
	SSL_CTX_free(r->ctx);
	r->ctx = ctx;
	SSL_CTX_up_ref(ctx);
	CHECK(mail_post(
	    r->mail, mail_main(r->mail), mail_gate(r->mail), LETTER_CTX, &ctx, sizeof(ctx), true));
	mail_publish(r->mail, mail_main(r->mail));
	log_info("the meta certificate was renewed");
}

/* Until a signal: writes the others' log lines, looks after certificates. */
static void wait_for_signal(struct relay *r, int signals)
{
	int self = mail_main(r->mail);
	struct pollfd p[2] = {
	    {.fd = signals, .events = POLLIN},
	    {.fd = mail_bell_fd(r->mail, self), .events = POLLIN},
	};
	uint64_t bell;

	for (;;) {
		bool more = mail_drain(r->mail, self, 256, read_letter, NULL);

		mail_release(r->mail, self);
		poll(p, 2, more || !mail_may_sleep(r->mail, self) ? 0 : 1000);
		mail_awake(r->mail, self);
		if (p[1].revents && read(p[1].fd, &bell, sizeof(bell)) < 0)
			log_debug("bell: %s", strerror(errno));
		if (p[0].revents) {
			struct signalfd_siginfo si;

			if (read(signals, &si, sizeof(si)) == sizeof(si)) {
				log_info("stopping on %s",
				    si.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
				return;
			}
		}
		renew_certs(r);
	}
}

/* ---- Start ----------------------------------------------------------------------------------- */

static void raise_file_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0 || lim.rlim_cur == lim.rlim_max)
		return;
	lim.rlim_cur = lim.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &lim) < 0)
		log_warn("the limit of open files could not be raised: %s", strerror(errno));
}

static int load_key(struct relay *r, char *err)
{
	const struct options *o = r->options;

	if (*o->key_file)
		return keyfile_load_or_create(o->key_file, &r->keys, &r->key_created, err, ERR_LEN);
	login_keys_new(&r->keys);
	return 0;
}

static void make_workers(struct relay *r)
{
	const struct options *o = r->options;
	int n = options_workers(o);

	r->relay_config = (struct relay_config){
	    .workers = n,
	    .mesh = r->mesh,
	    .server_key = r->keys.public,
	    .flow_limit = (uint32_t)o->flow_limit,
	    .congestion_changes = r->congestion.changes,
	    .queue_fifo = strcmp(o->queue, "fifo") == 0,
	    .shed_uploads = o->shed_uploads,
	    .queue_packets = (uint32_t)o->send_queue_packets,
	    .write_timeout_ms = (uint64_t)MAX(o->tcp_write_timeout_ms, 0),
	    .queue_memory = QUEUE_MEMORY / (size_t)n,
	};
	r->mail = mail_new(n);
	r->worker = must_calloc((size_t)n, sizeof(*r->worker));
	r->counters = must_calloc((size_t)n + 1, sizeof(*r->counters));
	r->queue_delays = must_calloc((size_t)n, sizeof(*r->queue_delays));
	for (int i = 0; i < n; i++) {
		r->worker[i] = worker_new(i, &r->relay_config, r->mail, r->start_ms);
		r->counters[i] = &r->worker[i]->counters;
		r->queue_delays[i] = &r->worker[i]->queue_delay_us;
	}
}

static int make_gate(struct relay *r, char *err)
{
	const struct options *o = r->options;

	if (o->tls) {
		r->ctx = certs_server_ctx(o, &r->keys, err, ERR_LEN);
		if (!r->ctx)
			return -1;
		r->renew_wall_ms = certs_renew_at(r->ctx);
	}
	/* Behind the certificates: -mesh-ca may name one that was made just now. */
	if (r->mesh && r->mesh->n > 0) {
		r->mesh_ctx = mesh_client_ctx(o, r->ctx, err, ERR_LEN);
		if (!r->mesh_ctx)
			return -1;
	}
	r->gate_config = (struct gate_config){
	    .keys = &r->keys,
	    .mesh = r->mesh,
	    .mesh_ctx = r->mesh_ctx,
	    .max_visitors = (uint32_t)o->max_pre_login,
	    .derp = o->derp,
	    .tcp_keepalive_time_ms = o->tcp_keepalive_time_ms,
	    .tcp_user_timeout_ms = o->tcp_user_timeout_ms,
	    .congestion = r->congestion.first,
	};
	if (r->ctx)
		SSL_CTX_up_ref(r->ctx);
	r->gate = gate_new(&r->gate_config, r->mail, r->ctx);
	r->counters[r->relay_config.workers] = &r->gate->counters;
	gate_listen(r->gate, r->plan.public_fd, LISTEN_PUBLIC, o->tls, true);
	if (r->plan.http_fd >= 0)
		gate_listen(r->gate, r->plan.http_fd, LISTEN_HTTP, false, true);
	if (r->plan.debug_fd >= 0)
		gate_listen(r->gate, r->plan.debug_fd, LISTEN_DEBUG, false, !r->plan.debug_is_unix);
	return 0;
}

static int open_sockets(struct relay *r, char *err)
{
	const struct options *o = r->options;

	if (listen_open(o, &r->plan, err, ERR_LEN) < 0)
		return -1;
	if (!o->stun)
		return 0;
	r->stun = stun_server_open((const struct sockaddr *)&r->plan.stun.ss, err, ERR_LEN);
	return r->stun ? 0 : -1;
}

/* The file's text without the blanks around it. */
static int read_debug_key(struct relay *r, const char *path, char *err)
{
	char *text, *begin;
	size_t len, n;
	int e = file_read(path, DEBUG_KEY_MAX, &text, &len);

	if (e < 0) {
		snprintf(err, ERR_LEN, "cannot read the debug key (TS_DEBUG_KEY_PATH) %s: %s", path,
		    strerror(-e));
		return -1;
	}
	begin = text + strspn(text, " \t\r\n");
	n = strlen(begin);
	while (n > 0 && strchr(" \t\r\n", begin[n - 1]))
		n--;
	snprintf(r->debug_key, sizeof(r->debug_key), "%.*s", (int)n, begin);
	file_free(text, len);
	if (*r->debug_key)
		return 0;
	snprintf(err, ERR_LEN, "the debug key file (TS_DEBUG_KEY_PATH) %s is empty", path);
	return -1;
}

static int make_site(struct relay *r, char *err)
{
	const struct options *o = r->options;
	struct site_config c = {
	    .ask = gate_ask,
	    .ready = reply_ready,
	    .start_ms = r->start_ms,
	    .workers = r->relay_config.workers,
	    .version = SLUICE_VERSION,
	    .server_key = r->keys.public,
	    .home = o->home,
	    .derp = o->derp,
	    .tls_port = addr_port((const struct sockaddr *)&r->plan.public.ss),
	    .allow_debug_ip = o->allow_debug_ip,
	    .debug_elsewhere = *o->debug_listen != '\0',
	    .counters = r->counters,
	    .ncounters = r->relay_config.workers + 1,
	    .queue_delay_us = r->queue_delays,
	    .nqueue_delay = r->relay_config.workers,
	    .mesh = r->mesh,
	    .stun = r->stun ? stun_server_stats(r->stun) : NULL,
	};

	if (addr_cidrs_parse(&c.trusted, o->debug_trusted_cidrs, err, ERR_LEN) < 0)
		return -1;
	if (*o->debug_key_path && read_debug_key(r, o->debug_key_path, err) < 0)
		return -1;
	c.debug_key = r->debug_key;
	r->site = site_new(&c);
	site_set_gate(r->site, r->gate);
	gate_set_site(r->gate, site_ops(r->site));
	return 0;
}

static void *run_stun(void *stun)
{
	stun_server_run(stun);
	return NULL;
}

static void start_thread(struct relay *r, const char *name, void *(*body)(void *), void *arg)
{
	pthread_t *t = &r->threads[r->nthreads++];

	CHECK(pthread_create(t, NULL, body, arg) == 0);
	pthread_setname_np(*t, name);
}

static void start_threads(struct relay *r)
{
	r->threads = must_calloc((size_t)r->relay_config.workers + 2, sizeof(*r->threads));
	for (int i = 0; i < r->relay_config.workers; i++) {
		char name[24];

		snprintf(name, sizeof(name), "worker-%d", i);
		start_thread(r, name, worker_run, r->worker[i]);
	}
	start_thread(r, "gate", gate_run, r->gate);
	if (r->stun)
		start_thread(r, "stun", run_stun, r->stun);
}

/* What the operator should know, once all of it is true. */
static void announce(const struct relay *r)
{
	const struct options *o = r->options;
	char text[KEY_TEXT_LEN];

	if (r->key_created)
		log_info("made a new server key in %s", o->key_file);
	key_text(&r->keys.public, text);
	log_info("server key %s", text);
	mesh_announce(r->mesh);
	if (r->ctx)
		certs_announce(r->ctx, o);
	log_info("sluice %s is ready: %s on %s, %d workers", SLUICE_VERSION,
	    o->tls ? "TLS" : "plain HTTP", o->listen, r->relay_config.workers);
}

/* ---- End ------------------------------------------------------------------------------------- */

static void stop_threads(struct relay *r)
{
	gate_stop(r->gate);
	for (int i = 0; i < r->relay_config.workers; i++)
		worker_stop(r->worker[i]);
	if (r->stun)
		stun_server_stop(r->stun);
	for (int i = 0; i < r->nthreads; i++)
		pthread_join(r->threads[i], NULL);
}

static void free_letter(void *arg, int from, const struct letter *l)
{
	if (l->kind == LETTER_LOG)
		log_write((const char *)l->body, l->len);
	else
		relay_letter_free(l);
}

static void relay_free(struct relay *r)
{
	if (r->mail)
		for (int t = 0; t <= mail_main(r->mail); t++)
			while (mail_drain(r->mail, t, 1024, free_letter, NULL))
				;
	site_free(r->site);
	if (r->gate)
		gate_free(r->gate);
	for (int i = 0; r->worker && i < r->relay_config.workers; i++)
		worker_free(r->worker[i]);
	if (r->stun)
		stun_server_free(r->stun);
	mail_free(r->mail);
	if (!r->gate)
		listen_close(&r->plan);
	if (r->plan.debug_is_unix)
		unlink(addr_unix_path(r->options->debug_listen));
	sodium_memzero(r->debug_key, sizeof(r->debug_key));
	SSL_CTX_free(r->ctx);
	SSL_CTX_free(r->mesh_ctx);
	mesh_config_free(r->mesh);
	free(r->worker);
	free(r->counters);
	free(r->queue_delays);
	free(r->threads);
	login_keys_wipe(&r->keys);
}

/* Our record layer goes on with secrets that only our key schedule hands out. */
static int choose_engine(const struct options *o, char *err)
{
	bool ours = strcmp(o->tls_engine, "openssl") != 0;

	if (ours && !provider_init()) {
		if (strcmp(o->tls_engine, "sluice") == 0) {
			snprintf(err, ERR_LEN,
			    "-tls-engine sluice: OpenSSL here does not take a "
			    "provider of ours; use auto or openssl");
			return -1;
		}
		log_warn("OpenSSL here does not take a provider of ours: records are left to "
			 "OpenSSL, which costs several times as much");
		ours = false;
	}
	tls_use_records(ours);
	return 0;
}

int serve_run(struct options *o)
{
	struct relay r = {
	    .options = o,
	    .start_ms = clock_ms(),
	    .plan = LISTEN_PLAN_NONE,
	};
	char err[ERR_LEN] = "";
	sigset_t stop;
	int signals;

	log_set_level(o->log_level);
	/* Blocked before any thread begins, so that none but main sees them. */
	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	pthread_sigmask(SIG_BLOCK, &stop, NULL);
	signal(SIGPIPE, SIG_IGN);
	signals = signalfd(-1, &stop, SFD_CLOEXEC);
	CHECK(signals >= 0);
	raise_file_limit();
	/* The server's key and every connection's are in memory: none of it goes into a core dump.
	 */
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		log_warn("core dumps could not be turned off: %s", strerror(errno));
	if (choose_engine(o, err) < 0)
		goto failed;
	key_hash_init();
	/* The sockets first: nothing is made when another relay has the port. */
	if (open_sockets(&r, err) < 0 || load_key(&r, err) < 0 ||
	    mesh_config_new(o, options_workers(o), &r.mesh, err, sizeof(err)) < 0)
		goto failed;
	congestion_plan(o->tcp_congestion, &r.congestion);
	make_workers(&r);
	if (make_gate(&r, err) < 0 || make_site(&r, err) < 0 ||
	    listen_start(&r.plan, err, sizeof(err)) < 0)
		goto failed;
	announce(&r);
	start_threads(&r);
	wait_for_signal(&r, signals);
	stop_threads(&r);
	relay_free(&r);
	close(signals);
	return 0;
failed:
	log_error("%s", err);
	relay_free(&r);
	close(signals);
	return 1;
}
