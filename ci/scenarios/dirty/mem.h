/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory with a known content: filling it, telling what is wrong with it, and waiting for the switch.
 *
 * Every byte depends on its address, on a generation (0: as filled before the switch) and on the name of the test, so that
 * a page from the wrong place, time or process is told from the right one. No word of the pattern is zero.
 */
#ifndef DIRTY_MEM_H
#define DIRTY_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PAGE	4096UL
#define MIB	(1UL << 20)
#define CHUNK	(2 * MIB)

/* What a self-test does to show that each test can fail. */
enum sabotage {
	SABOTAGE_NONE,
	SABOTAGE_LOSE,		/* one byte of each filled page changes while the test waits */
	SABOTAGE_RESURRECT,	/* one byte appears wherever the test expects zeros */
};

extern enum sabotage mem_sabotage;
extern const char *mem_dir;	/* where files may be made once the switch is over */

void mem_init(const char *test_name);

/**
 * area - private anonymous memory without huge pages
 * @len: bytes, a multiple of the page size
 * @offset: its start, relative to a chunk's
 *
 * What lies around it in its first and last chunk is unmapped. Never returns NULL.
 */
char *area(size_t len, size_t offset);

/* Like area(), chunk aligned, with MADV_HUGEPAGE. */
char *huge_area(size_t len);

/* Write generation 0 and remember the range, for hold() and the self-test. */
void fill(void *p, size_t len);

/* Write generation @gen of what belongs at @home to @p; p and home agree modulo 8. */
void put(void *p, const void *home, size_t len, int gen);

/* How many bytes of @p differ from generation @gen of what belongs at @home; the first one is shown on stderr. */
size_t wrong(const void *p, const void *home, size_t len, int gen);

/* How many bytes are not zero; likewise. */
size_t nonzero(const void *p, size_t len);

/* Each page either as it was or all zero? Returns how many are neither. */
size_t torn(const void *p, const void *home, size_t len, int gen);

/* One 64-bit word of the pattern. */
uint64_t word(const void *home, int gen);

/* Does a read (or a write) raise SIGSEGV? */
bool read_faults(const void *p);
bool write_faults(void *p);

/* Pages of [p, p + len) that pagemap shows as present. */
size_t present(const void *p, size_t len);

/**
 * hold - filled; wait until the switch is over
 *
 * Says on stderr how many of the filled pages are present when it goes on: "# held UNBOUND of FILLED pages".
 */
void hold(void);

/*
 * A process of its own that lives through the switch beside the test.
 *
 * The test calls peer_start() before it fills anything (each has its pages for itself: the forked scenario is about others), peer_end() last.
 * The peer's function fills what it likes, calls peer_hold(), goes on when the test calls peer_go(), and returns its exit status.
 */
struct peer {
	pid_t pid;
	int to, from;
};

void peer_start(struct peer *p, int (*fn)(struct peer *self));
void peer_hold(struct peer *self);
void peer_say(struct peer *self);	/* to the other side, which sits in peer_wait() */
void peer_wait(struct peer *self);
#define peer_go(p)	peer_say(p)
int peer_end(struct peer *p);		/* wait status */

/* In a child made by fork(): run @fn(@arg), exit with what it returns; the status comes back, -1 for a signal. */
int in_child(int (*fn)(void *arg), void *arg);

/* Compare what a core file holds for [p, p + len) with generation @gen. Bytes wrong or missing. */
size_t core_wrong(const char *core, const void *p, size_t len, int gen);

/* Bytes of free memory; unlike MemFree it counts the lists of free pages that each CPU keeps, which may be 100 MB. */
size_t free_memory(void);

bool write_file(const char *path, const char *text);

#endif
