/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The pools of huge pages (hugetlbfs), of 2 MiB and of 1 GiB. The module counts those that are kept into the new kernel's pools, and all others of
 * 1 GiB, too, whoever has them; the rest of those of 2 MiB is made here.
 *
 * In the plan: hugetlb: [{ dir, overcommit, nodes: [{ dir, pages, surplus }] }], if any: the pool of 2 MiB if any of the processes uses it, that of
 * 1 GiB if it has pages.
 */
#ifndef KUP_HUGETLB_H
#define KUP_HUGETLB_H

#include <stdint.h>
#include <sys/types.h>

#include "err.h"
#include "tree.h"

struct json_object;

enum kup_huge {
	KUP_HUGE_2M,
	KUP_HUGE_1G,
	KUP_HUGE_SIZES,
};

int kup_huge_of(uint64_t bytes);		/* that has pages of so many; -1: none that is known */
uint64_t kup_huge_bytes(enum kup_huge size);
const char *kup_huge_name(enum kup_huge size);	/* "2 MiB" */

/**
 * kup_hugetlb_dev - device number of the file system that memory of MAP_HUGETLB and MFD_HUGETLB is in; 0: there is none
 */
dev_t kup_hugetlb_dev(enum kup_huge size);

uint64_t kup_hugetlb_pool(enum kup_huge size);	/* pages in it */

/* Bits 1 << size: whose pool the new kernel gets from us, so that it need not look for pages when it boots. @forest: NULL: if nobody is known yet */
unsigned int kup_hugetlb_pools(const struct kup_forest *forest);

/**
 * kup_hugetlb_note - what the pools are, into the plan
 */
void kup_hugetlb_note(const struct kup_forest *forest, struct json_object *plan);

uint64_t kup_hugetlb_along(const struct kup_forest *forest);	/* bytes of pages of 1 GiB that come along, and no process has them */

/**
 * kup_hugetlb_lend - CRIU tells memory of hugetlbfs by the device of a page that it maps: for that one has to be free, or be added for a while
 *
 * Of 1 GiB it has to be there all the time until the next kernel has it, which needs one to begin with.
 *
 * Return: 0, or a negative errno if there is not enough memory in one piece.
 */
int kup_hugetlb_lend(const struct kup_forest *forest, struct kup_err *err);
int kup_hugetlb_check(const struct kup_forest *forest, struct kup_err *err);	/* is it still enough, for what they have now? */
void kup_hugetlb_return(void);		/* after the dump: but for those of 1 GiB. Nothing if nothing was lent */
void kup_hugetlb_put_back(void);	/* all of it */

/**
 * kup_hugetlb_grow - have the pool of 2 MiB as it was, and one page more; that of 1 GiB has come along
 *
 * Return: 0, or a negative errno if there is not enough memory in one piece.
 */
int kup_hugetlb_grow(struct json_object *plan, struct kup_err *err);

/**
 * kup_hugetlb_settle - when all processes have their pages: without the one
 */
void kup_hugetlb_settle(struct json_object *plan);

#endif
