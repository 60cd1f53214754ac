// SPDX-License-Identifier: GPL-2.0
/* Where the fields of memblock's structures are in this kernel. */
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "internal.h"

struct field {
	const char *of;		/* struct */
	const char *name;
	uint32_t size;		/* what the stub reads and writes */
	uint32_t *offset;
};

static int find_field(const struct btf *btf, const struct field *f, struct kup_err *err)
{
	int id = btf__find_by_name_kind(btf, f->of, BTF_KIND_STRUCT);
	const struct btf_type *t = id > 0 ? btf__type_by_id(btf, id) : NULL;
	const struct btf_member *m = t ? btf_members(t) : NULL;

	if (!t)
		return kup_err_set(err, -ENOTSUP, "the image's BTF does not describe struct %s", f->of);
	for (int i = 0; i < btf_vlen(t); i++) {
		const char *name = btf__name_by_offset(btf, m[i].name_off);
		uint32_t bit = btf_member_bit_offset(t, i);
		long long size;

		if (!name || strcmp(name, f->name))
			continue;
		size = btf__resolve_size(btf, m[i].type);
		if (btf_member_bitfield_size(t, i) || bit % 64 || size != f->size)
			return kup_err_set(err, -ENOTSUP, "%s.%s: bit %u, %lld bytes; expected 8-byte aligned, %u bytes", f->of, f->name,
					   bit, size, f->size);
		if (bit / 8 + size > t->size)
			return kup_err_set(err, -EINVAL, "%s.%s ends behind the %u bytes of its structure: the image's .BTF is damaged",
					   f->of, f->name, t->size);
		*f->offset = bit / 8;
		return 0;
	}
	return kup_err_set(err, -ENOTSUP, "struct %s of this kernel has no field %s", f->of, f->name);
}

/* Two fields of one structure at the same place? All have 8 aligned bytes, but for the one that is alone in its structure. */
static int find_overlap(const struct field *f, size_t nr, struct kup_err *err)
{
	for (size_t i = 0; i < nr; i++)
		for (size_t k = 0; k < i; k++)
			if (!strcmp(f[i].of, f[k].of) && *f[i].offset == *f[k].offset)
				return kup_err_set(err, -EINVAL, "%s.%s and .%s are at the same place: the image's .BTF is damaged", f[i].of,
						   f[i].name, f[k].name);
	return 0;
}

static long long struct_size(const struct btf *btf, const char *name)
{
	return btf__resolve_size(btf, btf__find_by_name_kind(btf, name, BTF_KIND_STRUCT));
}

/* libbpf reads the types where they are in its copy, as words of four bytes, and looks at the alignment of but one of two offsets. */
static bool types_aligned(const uint8_t *data, size_t size)
{
	const size_t hdr_len = offsetof(struct btf_header, hdr_len), type_off = offsetof(struct btf_header, type_off);

	return size >= sizeof(struct btf_header) && (kup_le32(data + hdr_len) + kup_le32(data + type_off)) % 4 == 0;
}

int kup_btf_layout(const void *data, size_t size, struct kup_stub_params *p, struct kup_err *err)
{
	struct field fields[] = {
		{ "memblock", "reserved", 0 /* set below */, &p->memblock_reserved },
		{ "memblock_type", "cnt", 8, &p->type_cnt },
		{ "memblock_type", "max", 8, &p->type_max },
		{ "memblock_type", "total_size", 8, &p->type_total_size },
		{ "memblock_type", "regions", 8, &p->type_regions },
		{ "memblock_region", "base", 8, &p->region_base },
		{ "memblock_region", "size", 8, &p->region_length },
	};
	struct btf *btf;
	long long region;
	int ret = 0;

	libbpf_set_print(NULL);
	btf = types_aligned(data, size) ? btf__new(data, size) : NULL;
	if (!btf || libbpf_get_error(btf))
		return kup_err_set(err, -EINVAL, "the image's .BTF (%zu bytes) can't be parsed: damaged", size);
	fields[0].size = struct_size(btf, "memblock_type");
	for (size_t i = 0; !ret && i < sizeof(fields) / sizeof(*fields); i++)
		ret = find_field(btf, &fields[i], err);
	if (!ret)
		ret = find_overlap(fields, sizeof(fields) / sizeof(*fields), err);
	if (!ret) {
		region = struct_size(btf, "memblock_region");
		if (region <= 0 || region % 8 || region > KUP_MAX_REGION_SIZE)
			ret = kup_err_set(err, -ENOTSUP, "struct memblock_region has %lld bytes; expected a multiple of 8, at most %u",
					  region, KUP_MAX_REGION_SIZE);
		p->region_size = region;
	}
	btf__free(btf);
	return ret;
}
