/* SPDX-License-Identifier: GPL-2.0 */
/*
 * As much of the kernel as module/adopt.c and module/store.c are written against, over the RAM of world.c. The headers of
 * linux/ beside this file, which those two include, all come here.
 */
#ifndef KUP_TEST_KERNEL_H
#define KUP_TEST_KERNEL_H

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <linux/types.h>

#include "../world.h"

#define KUP_COMPAT_H	/* nothing of module/compat/ is needed, and nothing of it compiles here */

typedef __u64 u64;
typedef __u32 u32;
typedef __u8 u8;
typedef unsigned int vm_fault_t;
typedef struct { int counter; } atomic_t, refcount_t;
typedef struct { long counter; } atomic64_t;
struct hlist_node { struct hlist_node *next; };
struct list_head { struct list_head *next; };
struct mutex { int unused; };
struct mmu_notifier { int unused; };
struct mmu_notifier_ops { int unused; };
struct vm_area_struct;
struct mm_struct;
struct folio;
struct file;

#define __user
#define lockdep_assert_held(lock)	((void)(lock))
#define cond_resched()			((void)0)
#define BUILD_BUG_ON(cond)		static_assert(!(cond), #cond)
#define READ_ONCE_NOCHECK(x)		(*(const volatile typeof(x) *)&(x))
#define pr_warn(...)			((void)snprintf(NULL, 0, __VA_ARGS__))
#define scnprintf			snprintf
#define strscpy(to, from, size)		((void)snprintf(to, size, "%s", from))

#define min(a, b)		((a) < (b) ? (a) : (b))
#define max(a, b)		((a) > (b) ? (a) : (b))
#define min_t(t, a, b)		min((t)(a), (t)(b))
#define max3(a, b, c)		max(max(a, b), c)
#define round_up(v, to)		(((v) + (to) - 1) / (to) * (to))
#define DIV_ROUND_UP(v, by)	(((v) + (by) - 1) / (by))
#define check_add_overflow	__builtin_add_overflow

#define PAGE_SHIFT		12
#define PAGE_SIZE		(1UL << PAGE_SHIFT)
#define PHYS_PFN(phys)		((phys) >> PAGE_SHIFT)
#define PFN_PHYS(pfn)		((u64)(pfn) << PAGE_SHIFT)
#define offset_in_page(p)	((p) & (PAGE_SIZE - 1))
#define MAX_RW_COUNT		(INT_MAX & ~(PAGE_SIZE - 1))

/* memory */
#define GFP_KERNEL	0u
#define __GFP_ZERO	1u
#define __GFP_NORETRY	2u
#define __GFP_NOWARN	4u
#define kvcalloc(n, size, gfp)		((void)(gfp), calloc(n, size))
#define kvzalloc(size, gfp)		((void)(gfp), calloc(1, size))
#define kvmalloc_array(n, size, gfp)	((void)(gfp), reallocarray(NULL, n, size))
#define kmalloc_array			kvmalloc_array
#define kvfree(p)			free((void *)(p))
#define kfree(p)			free((void *)(p))
#define copy_from_user(to, from, n)	(memcpy(to, from, n), 0)

/* frames */
#define __va(phys)		((void *)(world_ram + (phys)))
#define pfn_valid(pfn)		((pfn) < WORLD_FRAMES)
#define pfn_to_page(pfn)	(&world_pages[pfn])
#define page_to_pfn(page)	((page) - world_pages)
#define PageReserved(page)	((page)->reserved)
#define page_count(page)	((page)->count)
#define page_ref_count(page)	((page)->count)
#define page_ref_inc(page)	((void)(page)->count++)
#define set_page_count(page, n)	((void)((page)->count = (n)))
#define free_reserved_page(page)	world_free(page)
#define IORESOURCE_SYSTEM_RAM	0
#define IORES_DESC_NONE		0
#define REGION_INTERSECTS	0
#define region_intersects(base, size, flags, desc)	world_is_no_ram(base, size)
#define VM_MAP		0
#define PAGE_KERNEL_RO	0
#define vmap(pages, nr, flags, prot)	world_map(pages, nr)
#define vunmap(p)			free((void *)(p))
struct page *alloc_page(unsigned int gfp);	/* the old side's: nobody here calls what needs them */
void __free_page(struct page *page);
ssize_t simple_read_from_buffer(void *to, size_t len, loff_t *pos, const void *from, size_t size);

/* bits */
#define BITS_TO_LONGS(n)	(((n) + 63) / 64)
#define __set_bit(i, map)	((void)__test_and_set_bit(i, map))
#define for_each_set_bit(i, map, end)	for (i = 0; i < (end); i++) if (test_bit(i, map))

static inline bool test_bit(unsigned long i, const unsigned long *map)
{
	return map[i / 64] >> i % 64 & 1;
}

static inline bool __test_and_set_bit(unsigned long i, unsigned long *map)
{
	bool was = test_bit(i, map);

	map[i / 64] |= 1UL << i % 64;
	return was;
}

static inline bool __test_and_clear_bit(unsigned long i, unsigned long *map)
{
	bool was = test_bit(i, map);

	map[i / 64] &= ~(1UL << i % 64);
	return was;
}

static inline void bitmap_set(unsigned long *map, unsigned long first, unsigned long nr)
{
	while (nr--)
		__test_and_set_bit(first++, map);
}

static inline void bitmap_clear(unsigned long *map, unsigned long first, unsigned long nr)
{
	while (nr--)
		__test_and_clear_bit(first++, map);
}

static inline unsigned long find_next_zero_bit(const unsigned long *map, unsigned long end, unsigned long i)
{
	while (i < end && test_bit(i, map))
		i++;
	return i;
}

static inline long atomic64_read(const atomic64_t *v) { return v->counter; }
static inline void atomic64_set(atomic64_t *v, long to) { v->counter = to; }
static inline int atomic_read(const atomic_t *v) { return v->counter; }

#endif
