// SPDX-License-Identifier: GPL-2.0
/* kup-ppp inspect VMLINUZ: can this kernel be switched to, and what was found in it? Changes nothing. */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>

#include "image/image.h"
#include "kup.h"

static void add_hex(struct json_object *o, const char *key, uint64_t v)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%" PRIx64, v);
	json_object_object_add(o, key, json_object_new_string(text));
}

static void add_int(struct json_object *o, const char *key, uint64_t v)
{
	json_object_object_add(o, key, json_object_new_int64(v));
}

static void add_text(struct json_object *o, const char *key, const char *v)
{
	json_object_object_add(o, key, json_object_new_string(v));
}

static int print_json(const char *path, const struct kup_image_info *i)
{
	struct json_object *o = json_object_new_object(), *layout = json_object_new_object();
	int ret;

	add_text(o, "image", path);
	add_text(o, "release", i->release);
	add_text(o, "compression", i->compression);
	add_int(o, "file_size", i->file_size);
	add_int(o, "elf_size", i->elf_size);
	add_text(o, "kallsyms", i->kallsyms);
	add_int(o, "symbols", i->nr_syms);
	add_hex(o, "setup_arch", i->setup_arch);
	add_hex(o, "call_site", i->call_site);
	add_text(o, "reserve_function", i->reserve_fn);
	add_hex(o, "stub_address", i->stub_addr);
	add_int(o, "stub_size", i->stub_size);
	add_int(o, "stub_room", i->stub_room);
	add_text(o, "fallback_lacks", i->no_fall ?: "");
	add_hex(o, "entry", i->entry);
	add_hex(o, "load_start", i->load_start);
	add_hex(o, "load_end", i->load_end);
	json_object_object_add(o, "layout", layout);
	add_int(layout, "memblock.reserved", i->layout.memblock_reserved);
	add_int(layout, "memblock_type.cnt", i->layout.type_cnt);
	add_int(layout, "memblock_type.max", i->layout.type_max);
	add_int(layout, "memblock_type.total_size", i->layout.type_total_size);
	add_int(layout, "memblock_type.regions", i->layout.type_regions);
	add_int(layout, "memblock_region", i->layout.region_size);
	add_int(layout, "memblock_region.base", i->layout.region_base);
	add_int(layout, "memblock_region.size", i->layout.region_length);
	ret = puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
	return ret < 0 ? -EIO : 0;
}

static int print_text(const char *path, const struct kup_image_info *i)
{
	const struct kup_stub_params *l = &i->layout;

	printf("image        %s\n", path);
	printf("release      %s\n", i->release);
	printf("payload      %s, %" PRIu64 " KiB in the file, %" PRIu64 " KiB unpacked\n", i->compression, i->file_size >> 10,
	       i->elf_size >> 10);
	printf("symbols      %u, layout: %s\n", i->nr_syms, i->kallsyms);
	printf("setup_arch   %#" PRIx64 ", called at %#" PRIx64 "\n", i->setup_arch, i->call_site);
	printf("stub         %#" PRIx64 ", %u bytes of %" PRIu64 " unused\n", i->stub_addr, i->stub_size, i->stub_room);
	printf("fallback     %s%s\n", i->no_fall ? "from the adoption on only; for one from the stub on it lacks what is known of " : "from the stub on",
	       i->no_fall ?: "");
	printf("memblock     reserved at %u; type: cnt %u, max %u, total_size %u, regions %u\n", l->memblock_reserved, l->type_cnt,
	       l->type_max, l->type_total_size, l->type_regions);
	printf("region       %u bytes: base %u, size %u; by %s\n", l->region_size, l->region_base, l->region_length, i->reserve_fn);
	printf("memory       %#" PRIx64 " to %#" PRIx64 " (%" PRIu64 " KiB), entry %#" PRIx64 "\n", i->load_start, i->load_end,
	       (i->load_end - i->load_start) >> 10, i->entry);
	return ferror(stdout) ? -EIO : 0;
}

int cmd_inspect(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err)
{
	struct kup_image *img;
	int ret;

	if (argc != 2) {
		kup_err_set(err, -EINVAL, "inspect: give exactly one kernel image");
		kup_err_next(err, "kup-ppp inspect VMLINUZ [--json]");
		return KUP_EXIT_USAGE;
	}
	ret = kup_image_open(argv[1], &img, err);
	if (ret)
		return ret;
	ret = opts->json ? print_json(argv[1], kup_image_info(img)) : print_text(argv[1], kup_image_info(img));
	if (ret || fflush(stdout))
		ret = kup_err_set(err, -EIO, "%s: the result could not be written", argv[1]);
	kup_image_close(img);
	return ret;
}
