// SPDX-License-Identifier: GPL-2.0
/*
 * Tool for the test bed: was a module built with the types of the kernel?
 *   tool_layout MODULE_BTF KERNEL_BTF
 *
 * Compares every structure and union that both have by name: its size, and name and place of each member. If the kernel has several
 * of one name, one of them has to fit.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <bpf/btf.h>

static struct btf *module, *kernel;

static const struct btf_type *skip_qualifiers(const struct btf *btf, unsigned int id)
{
	const struct btf_type *t = btf__type_by_id(btf, id);

	while (t && (btf_is_mod(t) || btf_is_typedef(t)))
		t = btf__type_by_id(btf, t->type);
	return t;
}

static bool same(const struct btf_type *a, const struct btf_type *b, int depth)
{
	unsigned int i;

	if (depth > 16 || btf_kind(a) != btf_kind(b) || a->size != b->size || btf_vlen(a) != btf_vlen(b))
		return false;
	for (i = 0; i < btf_vlen(a); i++) {
		const struct btf_member *ma = btf_members(a) + i, *mb = btf_members(b) + i;
		const char *name = btf__name_by_offset(module, ma->name_off);
		const struct btf_type *ta, *tb;

		if (strcmp(name, btf__name_by_offset(kernel, mb->name_off)) ||
		    btf_member_bit_offset(a, i) != btf_member_bit_offset(b, i) ||
		    btf_member_bitfield_size(a, i) != btf_member_bitfield_size(b, i))
			return false;
		if (*name)
			continue;
		ta = skip_qualifiers(module, ma->type);
		tb = skip_qualifiers(kernel, mb->type);
		if (!ta || !tb || !btf_is_composite(ta) || !btf_is_composite(tb) || !same(ta, tb, depth + 1))
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	unsigned int id, k, nr = 0, bad = 0;

	if (argc != 3)
		return 2;
	module = btf__parse(argv[1], NULL);
	kernel = btf__parse(argv[2], NULL);
	if (!module || !kernel) {
		fprintf(stderr, "%s: no types: %s\n", module ? argv[2] : argv[1], strerror(errno));
		return 1;
	}
	for (id = 1; id < btf__type_cnt(module); id++) {
		const struct btf_type *t = btf__type_by_id(module, id);
		const char *name = btf__name_by_offset(module, t->name_off);
		bool known = false, fits = false;

		if (!btf_is_composite(t) || !*name)
			continue;
		for (k = 1; k < btf__type_cnt(kernel) && !fits; k++) {
			const struct btf_type *kt = btf__type_by_id(kernel, k);

			if (btf_kind(kt) != btf_kind(t) || strcmp(name, btf__name_by_offset(kernel, kt->name_off)))
				continue;
			known = true;
			fits = same(t, kt, 0);
		}
		nr += known;
		if (known && !fits) {
			fprintf(stderr, "%s is laid out otherwise in the kernel\n", name);
			bad++;
		}
	}
	printf("%u structures in both, %u differ\n", nr, bad);
	return bad || nr < 100;
}
