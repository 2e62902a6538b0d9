/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A line between two network namespaces, for kernels without netem: two tun devices, and this
 * between them. Each direction has a queue of so many bytes in front of a link of so many bits a
 * second (what doesn't fit is dropped), a loss behind it, and a delay.
 *
 * The queue is reckoned, not kept: a packet that comes at `now` leaves the link at
 * max(now, when the one before leaves) + its own time, and what lies between is what waits. So a
 * packet is written once, when it is due at the other end, and being late with one never shifts the
 * next. Sizes are those of IP packets. Loss takes packets in an order that depends on the seed
 * alone.
 *
 * On standard input: a line asks for the counts since the last, as a line of JSON; its end is ours.
 */
#include "netns.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>

#define PACKET_MAX 2048
/* Packets read in one go, so that neither direction waits long for the other. */
#define BURST 64
/* Records begin at multiples of it. */
#define RECORD_ALIGN 16
#define SPARE (1u << 20)

struct counts {
	uint64_t packets, bytes; /* delivered */
	uint64_t lost;           /* on the line */
	uint64_t dropped;        /* as the queue was full */
	uint64_t failed;         /* there was no room here, or the device took no packet */
	uint64_t queue_max_bytes;
	uint64_t late_max_us; /* behind the time at which a packet was due */
};

struct direction {
	const char *name;
	int from, to; /* tun devices */
	uint64_t random;
	double loss;          /* 0–1 */
	int64_t link_free_ns; /* when the link has sent what it took */
	/* Records in the order in which they are due. */
	uint8_t *ring;
	size_t size, head, used;
	struct counts counts;
};

struct record {
	int64_t due_ns;
	uint32_t len;  /* of the packet that follows; 0 fills up to the end of the ring */
	uint32_t size; /* with this header and what aligns the next */
};

_Static_assert(sizeof(struct record) == RECORD_ALIGN, "a filler needs room for a header");

static struct {
	double ns_per_byte;
	double bytes_per_ns;
	int64_t delay_ns;
	double loss, loss_back; /* 0–1, towards far and back */
	double queue_bytes;
	int64_t end_ns;
} line;

static int open_tun(const char *netns, const char *name)
{
	struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	int fd;

	netns_enter(netns);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		err(1, "/dev/net/tun");
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &r) < 0)
		err(1, "tun device %s", name);
	return fd;
}

/* xorshift64*, as a number in [0, 1). */
static double random_next(uint64_t *x)
{
	*x ^= *x >> 12;
	*x ^= *x << 25;
	*x ^= *x >> 27;
	return (double)((*x * 0x2545f4914f6cdd1dULL) >> 11) / (double)(1ULL << 53);
}

/* Room for a packet at the end of the ring; NULL when there is none. */
static struct record *ring_add(struct direction *d, size_t len)
{
	size_t want =
	    (sizeof(struct record) + len + RECORD_ALIGN - 1) & ~(size_t)(RECORD_ALIGN - 1);
	size_t tail = (d->head + d->used) % d->size, to_end = d->size - tail;
	struct record *r = (struct record *)(void *)(d->ring + tail);

	if (d->used + want + (to_end < want ? to_end : 0) > d->size)
		return NULL;
	if (to_end < want) {
		*r = (struct record){.len = 0, .size = (uint32_t)to_end};
		d->used += to_end;
		r = (struct record *)(void *)d->ring;
	}
	r->len = (uint32_t)len;
	r->size = (uint32_t)want;
	d->used += want;
	return r;
}

/* The packet that is due first; NULL when there is none. */
static struct record *ring_first(struct direction *d)
{
	while (d->used) {
		struct record *r = (struct record *)(void *)(d->ring + d->head);

		if (r->len)
			return r;
		d->used -= r->size;
		d->head = 0;
	}
	return NULL;
}

static void ring_drop_first(struct direction *d)
{
	struct record *r = (struct record *)(void *)(d->ring + d->head);

	d->used -= r->size;
	d->head = (d->head + r->size) % d->size;
}

static void take(struct direction *d, const uint8_t *packet, size_t len)
{
	int64_t now = now_ns();
	double waiting = 0;
	struct record *r;

	if (d->link_free_ns > now)
		waiting = (double)(d->link_free_ns - now) * line.bytes_per_ns;
	else
		d->link_free_ns = now;
	if (waiting + (double)len > line.queue_bytes) {
		d->counts.dropped++;
		return;
	}
	waiting += (double)len;
	if (waiting > (double)d->counts.queue_max_bytes)
		d->counts.queue_max_bytes = (uint64_t)waiting;
	d->link_free_ns += (int64_t)((double)len * line.ns_per_byte);
	if (random_next(&d->random) < d->loss) {
		d->counts.lost++;
		return;
	}
	r = ring_add(d, len);
	if (!r) {
		d->counts.failed++;
		return;
	}
	r->due_ns = d->link_free_ns + line.delay_ns;
	memcpy(r + 1, packet, len);
}

static void take_all(struct direction *d)
{
	uint8_t packet[PACKET_MAX];

	for (int i = 0; i < BURST; i++) {
		ssize_t n = read(d->from, packet, sizeof(packet));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		take(d, packet, (size_t)n);
	}
}

/* Delivers what is due; returns when the next is. */
static int64_t deliver(struct direction *d)
{
	struct record *r;

	while ((r = ring_first(d))) {
		int64_t late = now_ns() - r->due_ns;

		if (late < 0)
			return r->due_ns;
		if ((uint64_t)late / 1000 > d->counts.late_max_us)
			d->counts.late_max_us = (uint64_t)late / 1000;
		if (write(d->to, r + 1, r->len) == (ssize_t)r->len) {
			d->counts.packets++;
			d->counts.bytes += r->len;
		} else {
			d->counts.failed++;
		}
		ring_drop_first(d);
	}
	return INT64_MAX;
}

static void tell(struct direction d[2])
{
	printf("{");
	for (int i = 0; i < 2; i++) {
		struct counts *c = &d[i].counts;

		printf(
		    "%s\"%s\": {\"packets\": %ju, \"bytes\": %ju, \"lost\": %ju, \"dropped\": %ju, "
		    "\"failed\": %ju, \"queue_max_bytes\": %ju, \"late_max_us\": %ju}",
		    i ? ", " : "", d[i].name, c->packets, c->bytes, c->lost, c->dropped, c->failed,
		    c->queue_max_bytes, c->late_max_us);
		*c = (struct counts){0};
	}
	printf("}\n");
	fflush(stdout);
}

/* False when the driver has closed its end. */
static bool answer(struct direction d[2])
{
	char asked[256];
	ssize_t n = read(STDIN_FILENO, asked, sizeof(asked));

	if (n <= 0)
		return n < 0 && (errno == EINTR || errno == EAGAIN);
	for (ssize_t i = 0; i < n; i++)
		if (asked[i] == '\n')
			tell(d);
	return true;
}

static void run(struct direction d[2])
{
	struct pollfd p[3] = {{.fd = d[0].from, .events = POLLIN},
	    {.fd = d[1].from, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};

	for (;;) {
		int64_t due = deliver(&d[0]), other = deliver(&d[1]), wait;
		struct timespec t;

		due = other < due ? other : due;
		due = line.end_ns < due ? line.end_ns : due;
		wait = due - now_ns();
		if (due == line.end_ns && wait <= 0)
			errx(1, "still here after the longest time: the end");
		wait = wait < 0 ? 0 : wait;
		t = (struct timespec){.tv_sec = wait / NS_PER_S, .tv_nsec = wait % NS_PER_S};
		if (ppoll(p, 3, &t, NULL) < 0 && errno != EINTR)
			err(1, "poll");
		if (p[0].revents)
			take_all(&d[0]);
		if (p[1].revents)
			take_all(&d[1]);
		if (p[2].revents && !answer(d))
			return;
	}
}

static void usage(void)
{
	fprintf(stderr,
	    "usage: pathline -n NETNS -f NETNS [-i NAME] [-d DELAY_MS] [-r MBIT_PER_S] "
	    "[-l LOSS_PERCENT] [-b LOSS_BACK_PERCENT] [-q QUEUE_BYTES] [-s SEED] [-t MAX_SECONDS]\n"
	    "rate, delay and queue hold for each direction; -l is towards far, -b the other way\n");
	exit(2);
}

struct options {
	const char *near, *far, *device;
	double rate, delay_ms, max_s;
	uint64_t seed;
};

static void parse(int argc, char **argv, struct options *o)
{
	int c;

	while ((c = getopt(argc, argv, "n:f:i:d:r:l:b:q:s:t:")) != -1) {
		if (c == 'n')
			o->near = optarg;
		else if (c == 'f')
			o->far = optarg;
		else if (c == 'i')
			o->device = optarg;
		else if (c == 'd')
			o->delay_ms = number("-d", optarg, 0, 5000);
		else if (c == 'r')
			o->rate = number("-r", optarg, 0.1, 10000);
		else if (c == 'l')
			line.loss = number("-l", optarg, 0, 100) / 100;
		else if (c == 'b')
			line.loss_back = number("-b", optarg, 0, 100) / 100;
		else if (c == 'q')
			line.queue_bytes = number("-q", optarg, PACKET_MAX, 1 << 28);
		else if (c == 's')
			o->seed = (uint64_t)number("-s", optarg, 0, 1e15);
		else if (c == 't')
			o->max_s = number("-t", optarg, 1, 1e6);
		else
			usage();
	}
	if (!o->near || !o->far || optind != argc)
		usage();
}

static void direction_init(struct direction *d, const char *name, uint64_t seed)
{
	double under_way = line.queue_bytes + (double)line.delay_ns * line.bytes_per_ns;

	d->name = name;
	/* The smallest IP packet takes three times its size here. */
	d->size = ((size_t)under_way * 3 + SPARE) & ~(size_t)(RECORD_ALIGN - 1);
	d->ring = malloc(d->size);
	if (!d->ring)
		err(1, "malloc");
	d->random = seed * 0x9e3779b97f4a7c15ULL;
}

int main(int argc, char **argv)
{
	struct options o = {.device = "line", .rate = 20, .delay_ms = 25, .max_s = 3600, .seed = 1};
	struct sched_param priority = {.sched_priority = 1};
	struct direction d[2] = {0};

	line.queue_bytes = 131072;
	parse(argc, argv, &o);
	die_with_parent();
	/* Sleep for exactly as long as asked, and go first afterwards: it is little work. */
	prctl(PR_SET_TIMERSLACK, 1);
	if (sched_setscheduler(0, SCHED_FIFO, &priority) < 0)
		warn("no real-time priority: packets may be late");
	line.bytes_per_ns = o.rate / 8000;
	line.ns_per_byte = 8000 / o.rate;
	line.delay_ns = (int64_t)(o.delay_ms * NS_PER_MS);
	line.end_ns = now_ns() + (int64_t)(o.max_s * NS_PER_S);
	direction_init(&d[0], "to_far", 2 * o.seed + 1);
	direction_init(&d[1], "to_near", 2 * o.seed + 2);
	d[0].loss = line.loss;
	d[1].loss = line.loss_back;
	d[0].from = d[1].to = open_tun(o.near, o.device);
	d[1].from = d[0].to = open_tun(o.far, o.device);
	printf("ready\n");
	fflush(stdout);
	run(d);
	tell(d);
	return 0;
}
