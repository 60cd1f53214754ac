// SPDX-License-Identifier: GPL-2.0
#include "image/internal.h"
#include "ktap.h"
#include "synth.h"

static struct kup_err err;

/* Reads the symbols of a synthetic kernel; 0 or what was returned, with @err. The ELF is in a buffer of exactly its size. */
static int read_syms(struct synth *s, struct kup_syms *syms)
{
	struct kup_elf elf;
	uint8_t *data, *exact;
	size_t size;
	int ret;

	data = synth_build(s, &size);
	exact = malloc(size);
	memcpy(exact, data, size);
	free(data);
	memset(&err, 0, sizeof(err));
	*syms = (struct kup_syms){};
	ret = kup_elf_parse(&elf, exact, size, ET_EXEC, &err);
	if (CHECK(!ret))
		ret = kup_syms_read(syms, &elf, &err);
	kup_elf_free(&elf);
	free(exact);
	return ret;
}

static void check_layout(unsigned int layout, unsigned int fillers)
{
	struct synth s = { .layout = layout, .fillers = fillers };
	struct kup_syms syms;
	int ret = read_syms(&s, &syms);

	if (CHECK_FOR(!ret, "%s, %u fillers: %.100s", synth_layouts[layout], fillers, err.what)) {
		CHECK_FOR(!strcmp(syms.layout, synth_layouts[layout]), "%s", synth_layouts[layout]);
		if (CHECK_FOR(syms.nr == s.nr_syms, "%s", synth_layouts[layout])) {
			for (uint32_t i = 0; i < syms.nr; i++)
				CHECK_FOR(!strcmp(syms.names + syms.name[i], s.names[i]) && syms.addr[i] == s.addrs[i], "%s: symbol %u",
					  synth_layouts[layout], i);
		}
	}
	kup_syms_free(&syms);
	synth_free(&s);
}

static void test_layouts(void)
{
	for (unsigned int layout = 0; layout < SYNTH_NR_LAYOUTS; layout++)
		for (unsigned int more = 0; more < 20; more++)
			check_layout(layout, 700 + more);
}

/* Around a whole number of markers, where the last one is full or holds one symbol. */
static void test_counts(void)
{
	for (unsigned int layout = 0; layout < SYNTH_NR_LAYOUTS; layout++)
		for (unsigned int fillers = 1024 - 16; fillers <= 1026; fillers++)
			check_layout(layout, fillers);
}

static bool refused(struct synth *s, const char *why)
{
	struct kup_syms syms;
	bool good = true;

	for (s->layout = 0; s->layout < SYNTH_NR_LAYOUTS; s->layout++) {
		int ret = read_syms(s, &syms);

		if (ret != -ENOTSUP || !strstr(err.what, why) || !err.next[0] || syms.names || syms.addr) {
			printf("# %s: returned %d: %s\n", synth_layouts[s->layout], ret, err.what);
			good = false;
		}
		kup_syms_free(&syms);
		synth_free(s);
	}
	return good;
}

static void test_damaged(void)
{
	CHECK(refused(&(struct synth){ .bad_number = true }, "no names that fit"));
	CHECK(refused(&(struct synth){ .bad_marker = true }, "no names that fit"));
	CHECK(refused(&(struct synth){ .bad_index = true }, "no symbol tables"));
	CHECK(refused(&(struct synth){ .bad_name = true }, "in no known layout"));
	CHECK(refused(&(struct synth){ .unsorted = true }, "in no known layout"));
	CHECK(refused(&(struct synth){ .text_elsewhere = true }, "in no known layout"));
	CHECK(refused(&(struct synth){ .without = "_text" }, "in no known layout"));
	CHECK(refused(&(struct synth){ .twice = "_text" }, "in no known layout"));
	CHECK(refused(&(struct synth){ .fillers = 400 }, "no names that fit"));
}

static void test_ambiguous(void)
{
	CHECK(refused(&(struct synth){ .two_tables = true }, "which is right can't be told"));
}

static void test_find(void)
{
	struct synth s = { .layout = 4, .twice = "setup_arch" };
	struct kup_syms syms;
	uint64_t addr = 0;

	if (CHECK(!read_syms(&s, &syms))) {
		CHECK(kup_syms_find(&syms, "start_kernel", &addr) == 0 && addr == SYNTH_START);
		CHECK(kup_syms_find(&syms, "setup_arch", &addr) == -ENOTUNIQ);
		CHECK(kup_syms_find(&syms, "start_kerne", &addr) == -ENOENT);
		CHECK(kup_syms_find(&syms, "", &addr) == -ENOENT);
		CHECK(kup_syms_next(&syms, SYNTH_START) == SYNTH_START + 0x100);
		CHECK(kup_syms_next(&syms, SYNTH_START + 1) == SYNTH_START + 0x100);
		CHECK(kup_syms_next(&syms, SYNTH_TEXT) == SYNTH_START);
		CHECK(kup_syms_next(&syms, s.addrs[s.nr_syms - 1]) == UINT64_MAX);
		CHECK(kup_syms_next(&syms, s.addrs[s.nr_syms - 1] - 1) == s.addrs[s.nr_syms - 1]);
	}
	kup_syms_free(&syms);
	synth_free(&s);
}

static const struct ktap_test tests[] = {
	{ "every layout is read, name by name", test_layouts },
	{ "any number of symbols", test_counts },
	{ "damaged tables are refused", test_damaged },
	{ "two readings are refused", test_ambiguous },
	{ "lookup by name and by address", test_find },
};

KTAP_MAIN(tests)
