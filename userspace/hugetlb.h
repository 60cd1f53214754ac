/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The pool of huge pages (hugetlbfs), of 2 MiB. The module counts those that are kept into the new kernel's pool; the rest of it is made here.
 *
 * In the plan: hugetlb: { overcommit, nodes: [{ dir, pages, surplus }] }, if any of the processes uses them.
 */
#ifndef KUP_HUGETLB_H
#define KUP_HUGETLB_H

#include <stdint.h>
#include <sys/types.h>

#include "err.h"
#include "tree.h"

struct json_object;

#define KUP_HUGE_BYTES (2ull << 20)

/**
 * kup_hugetlb_dev - device number of the file system that memory of MAP_HUGETLB and MFD_HUGETLB is in; 0: there is none
 */
dev_t kup_hugetlb_dev(void);

uint64_t kup_hugetlb_pool(void);	/* pages in it */

/**
 * kup_hugetlb_note - what the pool is, into the plan
 */
void kup_hugetlb_note(const struct kup_forest *forest, struct json_object *plan);

/**
 * kup_hugetlb_lend - CRIU tells memory of hugetlbfs by the device of a page that it maps: for that one has to be free, or be added for a while
 */
void kup_hugetlb_lend(const struct kup_forest *forest);
void kup_hugetlb_return(void);		/* nothing if nothing was lent */

/**
 * kup_hugetlb_grow - have the pool as it was, and one page more
 *
 * Return: 0, or a negative errno if there is not enough memory in one piece.
 */
int kup_hugetlb_grow(struct json_object *plan, struct kup_err *err);

/**
 * kup_hugetlb_settle - when all processes have their pages: without the one
 */
void kup_hugetlb_settle(struct json_object *plan);

#endif
