/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The traffic of one phase: TCP flows that send as much as they can, or bursts with silence
 * between, and probes that are echoed. Its sockets stand in different network namespaces, but all
 * belong to this process, so there is one clock and one set of books. What arrives is counted where
 * it arrives, in bins of 100 ms.
 *
 *   traffic -t SECONDS [-a AFTER_MS] [-f NAME,FROM_NETNS,TO_NETNS,TO_ADDRESS[,CONGESTION]]...
 *           [-b the same]... [-p NAME,FROM_NETNS,TO_NETNS,TO_ADDRESS]...
 *
 * A burst (-b) is of 300 KB; the next one begins three seconds after its last byte has arrived.
 * Probes are UDP, one each 200 ms. Flows are cut off at the end; then probes that are still under
 * way have AFTER_MS to come back. One that doesn't is null in the JSON that is printed.
 */
#include "netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define FLOWS_MAX 8
#define PROBES_MAX 8
#define SECONDS_MAX 600
#define BIN_NS (100 * NS_PER_MS)
#define PROBE_EVERY_NS (200 * NS_PER_MS)
#define BINS_MAX (SECONDS_MAX * (int)(NS_PER_S / BIN_NS))
#define SENT_MAX (SECONDS_MAX * (int)(NS_PER_S / PROBE_EVERY_NS) + 1)
/* About what `ping` sends. */
#define PROBE_BYTES 56
#define CHUNK (256 * 1024)
#define BURST_BYTES 300000
#define SILENCE_NS (3 * NS_PER_S)
#define BURSTS_MAX (SECONDS_MAX / 3 + 1)

enum what { LISTENER, SENDER, RECEIVER, PROBE, ECHO };

struct end { /* what epoll hands back */
	enum what what;
	int fd;
	void *of; /* flow or probe */
};

struct flow {
	const char *name;
	struct end listener, sender, receiver;
	const char *congestion;
	bool connected;
	char why[64]; /* it broke; empty when it didn't */
	uint64_t bytes[BINS_MAX];
	uint64_t to_send;
	/* of one that sends bursts: the next begins at due_ns; 0: one is under way */
	int64_t due_ns, began_ns;
	uint64_t to_come;
	int n_bursts;
	int64_t took_ns[BURSTS_MAX]; /* until its last byte was received; the first has the
					handshake in it */
};

struct probe {
	const char *name;
	struct end from, echo;
	uint32_t sent, answered;
	int64_t sent_ns[SENT_MAX], answered_ns[SENT_MAX]; /* 0: not yet */
};

struct message {
	uint32_t number;
	uint8_t fill[PROBE_BYTES - sizeof(uint32_t)];
};

static struct flow flows[FLOWS_MAX];
static struct probe probes[PROBES_MAX];
static int n_flows, n_probes, epoll_fd;
static int64_t start_ns, end_ns;
static uint8_t chunk[CHUNK];

static void watch(struct end *e, enum what what, int fd, void *of, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = e};

	*e = (struct end){.what = what, .fd = fd, .of = of};
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		err(1, "epoll");
}

static int open_socket(const char *netns, int type)
{
	int fd;

	netns_enter(netns);
	fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		err(1, "socket");
	return fd;
}

static void set_congestion(int fd, const char *name)
{
	if (name && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) < 0)
		err(1, "congestion control %s", name);
}

/* Binds to any port and leaves the address to connect to in `to`. */
static void bind_any(int fd, const char *address, struct sockaddr_in *to)
{
	struct sockaddr_in any = {.sin_family = AF_INET};
	socklen_t len = sizeof(any);

	if (bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&any, &len) < 0)
		err(1, "bind");
	*to = any;
	if (inet_pton(AF_INET, address, &to->sin_addr) != 1)
		errx(2, "%s is no IPv4 address", address);
}

/* Splits NAME,FROM,TO,ADDRESS[,MORE] in place; a part that is missing is NULL. */
static void split(char *spec, char *parts[5])
{
	for (int i = 0; i < 5; i++)
		parts[i] = strsep(&spec, ",");
	if (!parts[3] || spec)
		errx(2, "NAME,FROM_NETNS,TO_NETNS,ADDRESS[,CONGESTION], please");
}

static void add_flow(char *spec, bool bursts)
{
	struct flow *f = &flows[n_flows];
	struct sockaddr_in to;
	char *parts[5];
	int fd;

	if (n_flows++ == FLOWS_MAX)
		errx(2, "too many flows");
	split(spec, parts);
	f->name = parts[0];
	f->congestion = parts[4];
	f->to_send = bursts ? 0 : UINT64_MAX;
	f->due_ns = bursts ? 1 : 0; /* at once */
	fd = open_socket(parts[2], SOCK_STREAM);
	set_congestion(fd, f->congestion);
	bind_any(fd, parts[3], &to);
	if (listen(fd, 1) < 0)
		err(1, "listen");
	watch(&f->listener, LISTENER, fd, f, EPOLLIN);
	fd = open_socket(parts[1], SOCK_STREAM);
	set_congestion(fd, f->congestion);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
		err(1, "%s: connect", f->name);
	watch(&f->sender, SENDER, fd, f, EPOLLOUT);
}

static void add_probe(char *spec)
{
	struct probe *p = &probes[n_probes];
	struct sockaddr_in to;
	char *parts[5];
	int fd;

	if (n_probes++ == PROBES_MAX)
		errx(2, "too many probes");
	split(spec, parts);
	p->name = parts[0];
	fd = open_socket(parts[2], SOCK_DGRAM);
	bind_any(fd, parts[3], &to);
	watch(&p->echo, ECHO, fd, p, EPOLLIN);
	fd = open_socket(parts[1], SOCK_DGRAM);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		err(1, "%s: connect", p->name);
	watch(&p->from, PROBE, fd, p, EPOLLIN);
}

static void broke(struct flow *f, const char *what)
{
	if (!*f->why)
		snprintf(f->why, sizeof(f->why), "%s: %s", what, strerror(errno));
}

static void flow_accept(struct flow *f)
{
	int fd = accept4(f->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	watch(&f->receiver, RECEIVER, fd, f, EPOLLIN);
	epoll_ctl(epoll_fd, EPOLL_CTL_DEL, f->listener.fd, NULL);
}

static void want_to_send(struct flow *f, bool want)
{
	struct epoll_event ev = {.events = want ? EPOLLOUT : 0, .data.ptr = &f->sender};

	if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, f->sender.fd, &ev) < 0)
		broke(f, "epoll");
}

static void burst_begin(struct flow *f)
{
	f->due_ns = 0;
	f->began_ns = now_ns();
	f->to_send = f->to_come = BURST_BYTES;
	want_to_send(f, true);
}

static void burst_came(struct flow *f, uint64_t n)
{
	f->to_come -= n < f->to_come ? n : f->to_come;
	if (f->to_come > 0 || f->n_bursts == BURSTS_MAX)
		return;
	f->took_ns[f->n_bursts++] = now_ns() - f->began_ns;
	f->due_ns = now_ns() + SILENCE_NS;
}

static void flow_send(struct flow *f)
{
	size_t most = f->to_send < CHUNK ? (size_t)f->to_send : CHUNK;
	/* Of nothing it tells what is wrong: without that it is not called. */
	ssize_t n = send(f->sender.fd, chunk, most, MSG_NOSIGNAL);

	if (n > 0) {
		f->connected = true;
		f->to_send -= (uint64_t)n;
		if (f->to_send == 0)
			want_to_send(f, false);
	}
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		broke(f, f->connected ? "send" : "connect");
		epoll_ctl(epoll_fd, EPOLL_CTL_DEL, f->sender.fd, NULL);
	}
}

static void flow_receive(struct flow *f)
{
	ssize_t n = recv(f->receiver.fd, chunk, CHUNK, 0);
	int64_t bin = (now_ns() - start_ns) / BIN_NS;

	if (n > 0 && bin < BINS_MAX)
		f->bytes[bin] += (uint64_t)n;
	if (n > 0 && f->to_come > 0)
		burst_came(f, (uint64_t)n);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		broke(f, "receive");
		epoll_ctl(epoll_fd, EPOLL_CTL_DEL, f->receiver.fd, NULL);
	}
}

static void echo(struct probe *p)
{
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	struct message m;
	ssize_t n = recvfrom(p->echo.fd, &m, sizeof(m), 0, (struct sockaddr *)&from, &len);

	if (n == sizeof(m))
		sendto(p->echo.fd, &m, sizeof(m), 0, (struct sockaddr *)&from, len);
}

static void probe_answered(struct probe *p)
{
	struct message m;

	if (recv(p->from.fd, &m, sizeof(m), 0) != sizeof(m) || m.number >= p->sent ||
	    p->answered_ns[m.number])
		return;
	p->answered_ns[m.number] = now_ns();
	p->answered++;
}

static void probe_send(struct probe *p)
{
	struct message m = {.number = p->sent};

	p->sent_ns[p->sent++] = now_ns();
	/* What can't be sent is lost, and is counted as that. */
	if (send(p->from.fd, &m, sizeof(m), 0) < 0)
		return;
}

static void handle(struct end *e)
{
	switch (e->what) {
	case LISTENER:
		flow_accept(e->of);
		break;
	case SENDER:
		flow_send(e->of);
		break;
	case RECEIVER:
		flow_receive(e->of);
		break;
	case PROBE:
		probe_answered(e->of);
		break;
	case ECHO:
		echo(e->of);
		break;
	}
}

/* Until then, or, with `all`, until each probe has its answer. */
static void run_until(int64_t until, bool all)
{
	struct epoll_event ev[16];

	for (int64_t now; (now = now_ns()) < until;) {
		int64_t next = until;
		bool missing = false;
		int n;

		for (int i = 0; i < n_probes; i++) {
			struct probe *p = &probes[i];
			/* They take turns, so as not to meet in one queue each time. */
			int64_t due = start_ns + p->sent * PROBE_EVERY_NS +
				      (2 * i + 1) * PROBE_EVERY_NS / (2 * n_probes);

			missing |= p->answered < p->sent;
			if (due >= end_ns)
				continue;
			if (due <= now)
				probe_send(p);
			else if (due < next)
				next = due;
		}
		for (int i = 0; i < n_flows; i++) {
			struct flow *f = &flows[i];

			if (!f->due_ns || now >= end_ns)
				continue;
			if (f->due_ns <= now)
				burst_begin(f);
			else if (f->due_ns < next)
				next = f->due_ns;
		}
		if (all && !missing)
			return;
		n = epoll_wait(epoll_fd, ev, 16, (int)((next - now) / NS_PER_MS) + 1);
		if (n < 0 && errno != EINTR)
			err(1, "epoll");
		for (int i = 0; i < n; i++)
			handle(ev[i].data.ptr);
	}
}

static void cut_off(struct flow *f)
{
	struct linger now = {.l_onoff = 1};

	close(f->listener.fd);
	setsockopt(f->sender.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(f->sender.fd);
	if (f->receiver.fd) {
		setsockopt(f->receiver.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(f->receiver.fd);
	}
}

static void tell_flow(struct flow *f, uint32_t retransmits, int n_bins)
{
	printf("\"%s\": {\"error\": \"%s\", \"retransmits\": %u, \"bin_ms\": %d, \"bytes\": [",
	    f->name, f->why, retransmits, (int)(BIN_NS / NS_PER_MS));
	for (int i = 0; i < n_bins; i++)
		printf("%s%ju", i ? "," : "", f->bytes[i]);
	printf("], \"bursts_ms\": [");
	for (int i = 0; i < f->n_bursts; i++)
		printf("%s%.1f", i ? "," : "", (double)f->took_ns[i] / NS_PER_MS);
	/* One that has taken for ever already. */
	if (f->to_come > 0 && end_ns - f->began_ns > SILENCE_NS)
		printf("%snull", f->n_bursts ? "," : "");
	printf("]}");
}

static void tell_probe(struct probe *p)
{
	printf("\"%s\": [", p->name);
	for (uint32_t i = 0; i < p->sent; i++) {
		if (p->answered_ns[i])
			printf("%s%.2f", i ? "," : "",
			    (double)(p->answered_ns[i] - p->sent_ns[i]) / NS_PER_MS);
		else
			printf("%snull", i ? "," : "");
	}
	printf("]");
}

static uint32_t retransmits_of(int fd)
{
	struct tcp_info i = {0};
	socklen_t len = sizeof(i);

	getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &len);
	return i.tcpi_total_retrans;
}

static void tell(double seconds, const uint32_t *retransmits)
{
	int n_bins = (int)(seconds * NS_PER_S / BIN_NS);

	printf("{\"seconds\": %g, \"flows\": {", seconds);
	for (int i = 0; i < n_flows; i++) {
		printf("%s", i ? ", " : "");
		tell_flow(&flows[i], retransmits[i], n_bins);
	}
	printf("}, \"probes\": {");
	for (int i = 0; i < n_probes; i++) {
		printf("%s", i ? ", " : "");
		tell_probe(&probes[i]);
	}
	printf("}}\n");
}

int main(int argc, char **argv)
{
	double seconds = 5, after_ms = 3000;
	uint32_t retransmits[FLOWS_MAX] = {0};
	int c;

	die_with_parent();
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		err(1, "epoll");
	while ((c = getopt(argc, argv, "t:a:f:b:p:")) != -1) {
		if (c == 't')
			seconds = number("-t", optarg, 0.1, SECONDS_MAX);
		else if (c == 'a')
			after_ms = number("-a", optarg, 0, 60000);
		else if (c == 'f' || c == 'b')
			add_flow(optarg, c == 'b');
		else if (c == 'p')
			add_probe(optarg);
		else
			return 2;
	}
	if (optind != argc)
		errx(2, "%s: what is that?", argv[optind]);
	start_ns = now_ns();
	end_ns = start_ns + (int64_t)(seconds * NS_PER_S);
	run_until(end_ns, false);
	for (int i = 0; i < n_flows; i++) {
		retransmits[i] = retransmits_of(flows[i].sender.fd);
		cut_off(&flows[i]);
	}
	run_until(end_ns + (int64_t)(after_ms * NS_PER_MS), true);
	tell(seconds, retransmits);
	return 0;
}
