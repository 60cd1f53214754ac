/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kup_fake.ko: makes a handover out of ordinary memory of the running kernel, as if a boot stub had reserved it, so that the
 * new side can be tested without a switch. For test guests only.
 */
#ifndef KUP_FAKE_H
#define KUP_FAKE_H

#include <linux/ioctl.h>
#include <linux/types.h>

struct fake_chunk {
	__u64 addr;		/* chunk aligned */
	__u64 present[8];	/* which pages there are */
	__u64 shared[8];	/* of these, which have a frame of several owners: that of @twin, or a new one for those that name this as twin */
	__u32 pid;		/* chunks of a process follow one another, by address */
	__u32 huge;
	__u32 twin;		/* 1 + number of an earlier chunk; 0: none */
	__u32 zero;
};

/* What to spoil. */
enum fake_defect {
	FAKE_FINE,
	FAKE_HEADER,		/* a changed header */
	FAKE_MAPS,		/* a changed byte in the maps */
	FAKE_STORE,
	FAKE_EXTENTS,
	FAKE_NOT_RESERVED,	/* one frame is not PageReserved */
	FAKE_IN_USE,		/* one frame has another reference */
	FAKE_TWICE,		/* one frame is named by two pages */
	FAKE_OUTSIDE,		/* one frame is in no extent */
	FAKE_NO_STUB,		/* stub_state is NONE */
	FAKE_ADOPTED,		/* stub_state is ADOPTED */
	FAKE_AGAIN,		/* nr_again is one too few */
	FAKE_FRAME,		/* one byte of the last page of the last chunk: only VERIFY can tell */
	FAKE_NR
};

struct fake_handover {
	__u64 chunks;		/* struct fake_chunk * */
	__u32 nr_chunks;
	__u32 defect;
	__u64 store_size;	/* byte i is (char)(i * 7) */
	__u32 extra_pages;	/* frames of extents that nobody preserves */
	__u32 flags;		/* KUP_MM_* of every process */
	__u32 sums;		/* of the memory, too: not 0 */
	__u32 zero;
	__u64 area;		/* out */
};

#define FAKE_IOC_MAKE	_IOWR('F', 1, struct fake_handover)
#define FAKE_IOC_UNMAKE	_IO('F', 2)	/* the last one: ADOPT has refused it */

/* The contents of a page: word i. */
static inline __u64 fake_word(__u32 pid, __u64 addr, unsigned int i)
{
	return ((__u64)pid << 48 ^ addr) + 0x9e3779b97f4a7c15ULL * (i + 1);
}

#endif
