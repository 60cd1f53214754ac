/* SPDX-License-Identifier: GPL-2.0 */
#ifndef KUP_RESERVE_H
#define KUP_RESERVE_H

#include <kup/handover.h>

/* stub.c; volatile: the injector fills it in after the compiler has seen it. */
extern volatile struct kup_stub_params kup_params;

/*
 * The kernel's own: memblock_reserve(base, size), or where that is an inline, __memblock_reserve(base, size, nid, flags); the
 * injector links whichever there is to this name. The shorter one never looks at the other arguments.
 */
int memblock_reserve(__u64 base, __u64 size, int nid, unsigned int flags);

/**
 * kup_reserve - reserve all extents of a checked handover in memblock
 * @p: layout of memblock's structures
 * @memblock: the kernel's struct memblock
 * @area: where the handover area is mapped; the header and the extents are valid
 *
 * Either everything is reserved, or nothing at all.
 *
 * Return: 0, KUP_STUB_BAD_EXTENTS if no extent covers the area, or KUP_STUB_NO_ROOM.
 */
int kup_reserve(const struct kup_stub_params *p, void *memblock, void *area);

#endif
