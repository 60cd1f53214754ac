/* SPDX-License-Identifier: GPL-2.0 */
/* What the program and its client outside (ci/client/forked_client.c) know of each other. */
#ifndef FORKED_H
#define FORKED_H

#include <stdint.h>

#define FORKED_PORT	7100	/* of the first process; the others follow */
#define FORKED_NR	4
#define FORKED_PAGE	4096u
#define FORKED_HUGE	(16u << 20)	/* bytes at the end of the memory that are in huge pages, if there are any */

#define FORKED_FILE	(256u << 10)	/* bytes at the beginning that are a private mapping of the program's file */

/* A request: DUMP is answered by all memory, WRITE by one byte when it is done. */
enum forked_op { FORKED_DUMP = 'd', FORKED_WRITE = 'w' };

struct forked_request {
	uint32_t op;
	uint32_t every;		/* WRITE: one page in so many */
	uint64_t stamp;		/* WRITE: what is written; it also says which pages */
};

static inline uint64_t forked_mix(uint64_t v)
{
	v = (v ^ v >> 31) * 0x9e3779b97f4a7c15ULL;
	return (v ^ v >> 29) * 0xd6e8feb86659fd93ULL;
}

static inline int forked_chosen(uint64_t stamp, uint32_t every, uint64_t page)
{
	return forked_mix(stamp * 1000003 + page) >> 32 & 1 ? 0 : forked_mix(stamp + page) % every == 0;
}

/* Word @i of page @page when @stamp was written to it last. */
static inline uint64_t forked_word(uint64_t stamp, uint64_t page, unsigned int i)
{
	return forked_mix(stamp << 40 ^ page << 9 ^ i);
}

#endif
