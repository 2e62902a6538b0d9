/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * replay.c: drives a fuzz target without libFuzzer: each seed of a folder, then mutations of it
 * that are the same in every run. Finds what came back; new things are found by run.sh.
 *
 *     replay-<target> FOLDER|FILE [MUTATIONS]
 *
 * With a file it feeds just that one. The input that ends the process is kept in a file.
 */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MUTATIONS 2000
#define SEEDS_MAX 1024
#define SEED_MAX (1u << 20)
/* What mutations of a seed may add to it. */
#define GROWTH 256

struct input {
	uint8_t *p;
	size_t len;
};

static struct input seeds[SEEDS_MAX];
static size_t seed_count;

/* What is being fed, for the one who has to look at it when it ends the process. */
static struct input current;
static char finding[PATH_MAX];
static const char *program;

static void keep_finding(void)
{
	int fd = open(finding, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, current.p, current.len) != (ssize_t)current.len)
		return;
	dprintf(STDERR_FILENO, "the input is in %s; to feed it again:\n  %s %s\n", finding, program,
	    finding);
}

static void on_signal(int sig)
{
	keep_finding();
	signal(sig, SIG_DFL);
	raise(sig);
}

/* Of the sanitizers, which end the process without a signal. */
void __sanitizer_set_death_callback(void (*fn)(void)) __attribute__((weak));

static void watch_for_death(void)
{
	const char *base = strrchr(program, '/');

	snprintf(finding, sizeof(finding), "/tmp/%s.%d.crash", base ? base + 1 : program, getpid());
	for (int sig = SIGILL; sig <= SIGSEGV; sig++) {
		if (sig != SIGKILL)
			signal(sig, on_signal);
	}
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(keep_finding);
}

/* In memory of exactly its size, so that a sanitizer sees one byte too far. */
static void feed(const uint8_t *p, size_t len)
{
	current = (struct input){must_alloc(len), len};
	if (len)
		memcpy(current.p, p, len);
	LLVMFuzzerTestOneInput(current.p, len);
	free(current.p);
}

/* SplitMix64: all that counts is that it is the same everywhere. */
static uint64_t draw(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static size_t below(uint64_t *state, size_t n)
{
	return n ? (size_t)(draw(state) % n) : 0;
}

/* Bytes that parsers trip over. */
static uint8_t odd_byte(uint64_t *state)
{
	static const uint8_t odd[] = {0, 1, 0x7f, 0x80, 0xff, '\r', '\n', '\t', ' ', '"', '\\', '%',
	    '{', '[', ':', ',', '/', '0', '9', '-'};
	size_t i = below(state, 2 * sizeof(odd));

	return i < sizeof(odd) ? odd[i] : (uint8_t)draw(state);
}

/* Puts n bytes of src in at `at`, moving the rest on; src may lie in p itself, as it is copied. */
static size_t insert(uint8_t *p, size_t len, size_t at, const uint8_t *src, size_t n)
{
	uint8_t copy[GROWTH];

	memcpy(copy, src, n);
	memmove(p + at + n, p + at, len - at);
	memcpy(p + at, copy, n);
	return len + n;
}

/* One change of p, which has room for cap bytes; returns its new length. */
static size_t mutate(uint8_t *p, size_t len, size_t cap, uint64_t *state)
{
	const struct input *other = &seeds[below(state, seed_count)];
	size_t at = below(state, len);
	size_t n = MIN(below(state, 64) + 1, cap - len);
	uint8_t byte = odd_byte(state);

	if (len == 0)
		return cap ? insert(p, 0, 0, &byte, 1) : 0;
	switch (below(state, 7)) {
	case 0:
		p[at] ^= (uint8_t)(1u << below(state, 8));
		return len;
	case 1:
		p[at] = byte;
		return len;
	case 2: /* cut short */
		return at;
	case 3: /* leave out */
		n = MIN(n, len - at);
		memmove(p + at, p + at + n, len - at - n);
		return len - n;
	case 4: /* repeat */
		return insert(p, len, at, p + at, MIN(n, len - at));
	case 5: /* put in */
		return cap > len ? insert(p, len, at, &byte, 1) : len;
	default: /* splice */
		n = MIN(n, other->len);
		return insert(p, len, at, other->p + below(state, other->len - n + 1), n);
	}
}

static void replay(const struct input *seed, uint64_t number, unsigned long mutations)
{
	uint64_t state = number;
	size_t cap = seed->len + GROWTH;
	uint8_t *p = must_alloc(cap);

	feed(seed->p, seed->len);
	for (unsigned long i = 0; i < mutations; i++) {
		size_t len = seed->len;

		if (len)
			memcpy(p, seed->p, len);
		for (size_t changes = below(&state, 4) + 1; changes > 0; changes--)
			len = mutate(p, len, cap, &state);
		feed(p, len);
	}
	free(p);
}

static struct input read_whole(const char *path)
{
	struct input in = {must_alloc(SEED_MAX), 0};
	FILE *f = fopen(path, "rb");

	if (!f) {
		perror(path);
		exit(2);
	}
	in.len = fread(in.p, 1, SEED_MAX, f);
	CHECK(feof(f));
	fclose(f);
	in.p = realloc(in.p, in.len + 1);
	CHECK(in.p);
	return in;
}

static int is_seed(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

/* Sorted by name, so that every run does the same. */
static void read_seeds(const char *folder)
{
	struct dirent **list;
	char path[PATH_MAX];
	int n = scandir(folder, &list, is_seed, alphasort);

	if (n <= 0 || n > SEEDS_MAX) {
		fprintf(stderr, "%s: not a folder of seeds\n", folder);
		exit(2);
	}
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, list[i]->d_name);
		seeds[i] = read_whole(path);
		free(list[i]);
	}
	free(list);
	seed_count = (size_t)n;
}

int main(int argc, char **argv)
{
	unsigned long mutations = argc > 2 ? strtoul(argv[2], NULL, 10) : MUTATIONS;
	struct stat st;

	program = argv[0];
	if (argc < 2 || stat(argv[1], &st) != 0) {
		fprintf(stderr, "usage: %s FOLDER|FILE [MUTATIONS]\n", argv[0]);
		return 2;
	}
	if (!S_ISDIR(st.st_mode)) {
		struct input in = read_whole(argv[1]);

		feed(in.p, in.len);
		free(in.p);
		return 0;
	}
	watch_for_death();
	read_seeds(argv[1]);
	for (size_t i = 0; i < seed_count; i++)
		replay(&seeds[i], i, mutations);
	printf("%zu seeds, each with %lu mutations\n", seed_count, mutations);
	for (size_t i = 0; i < seed_count; i++)
		free(seeds[i].p);
	return 0;
}
