/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every field of what crosses the switch, by name. A structure that gains a field which is not listed here does not compile:
 * there is no padding in the format, so the sizes of all fields make the size of the whole.
 */
#ifndef KUP_FIELDS_H
#define KUP_FIELDS_H

#include <assert.h>
#include <stddef.h>

#include <kup/handover.h>
#include <kup/map.h>

struct field {
	const char *name;
	unsigned int offset, size;
};

#define HANDOVER_FIELDS(F, T) \
	F(T, magic) F(T, version) F(T, header_size) F(T, nonce) F(T, self) F(T, extents_off) F(T, directory_off) F(T, scratch_off) \
	F(T, scratch_size) F(T, nr_extents) F(T, block_order) F(T, stream_pages) F(T, maps_size) F(T, store_off) F(T, store_size) \
	F(T, nr_mms) F(T, flags) F(T, nr_frames) F(T, nr_again) F(T, extents_sum) F(T, directory_sum) F(T, maps_sum) F(T, store_sum) F(T, pieces_off) \
	F(T, nr_pieces) F(T, fallback_seconds) F(T, fallback_entry) F(T, pieces_sum) F(T, fallback_sum) F(T, boot_cycles) F(T, jump_code) F(T, jump_table) F(T, seal_tsc) F(T, release) F(T, header_sum) \
	F(T, stub_state) F(T, stub_regions) F(T, stub_tsc_in) F(T, stub_tsc_out) F(T, falls) F(T, jumper) F(T, fell_from) F(T, fell_why)
#define EXTENT_FIELDS(F, T)	F(T, base) F(T, size)
#define PIECE_FIELDS(F, T)	F(T, to) F(T, from) F(T, size)
#define RECORD_FIELDS(F, T)	F(T, pid) F(T, flags) F(T, chunks_off) F(T, nr_chunks) F(T, nr_huge) F(T, nr_pages) F(T, comm)
#define CHUNK_FIELDS(F, T)	F(T, addr) F(T, value) F(T, nr) F(T, kind) F(T, width)
#define RUN_FIELDS(F, T)	F(T, first) F(T, nr) F(T, pfn)
#define SCATTER_FIELDS(F, T)	F(T, present) F(T, base) F(T, zero)

#define FIELD_ENTRY(T, f)	{ #f, offsetof(T, f), sizeof(((T *)0)->f) },
#define FIELD_SIZE(T, f)	+ sizeof(((T *)0)->f)
#define FIELDS(table, list, T)	\
	static_assert(0 list(FIELD_SIZE, T) == sizeof(T), "a field of " #T " is not listed"); \
	static const struct field table[] = { list(FIELD_ENTRY, T) }

FIELDS(handover_fields, HANDOVER_FIELDS, struct kup_handover);
FIELDS(extent_fields, EXTENT_FIELDS, struct kup_extent);
FIELDS(piece_fields, PIECE_FIELDS, struct kup_piece);
FIELDS(record_fields, RECORD_FIELDS, struct kup_mm_record);
FIELDS(chunk_fields, CHUNK_FIELDS, struct kup_chunk);
FIELDS(run_fields, RUN_FIELDS, struct kup_run);
FIELDS(scatter_fields, SCATTER_FIELDS, struct kup_scatter);

#define NR_FIELDS(table)	(sizeof(table) / sizeof(*(table)))

#endif
