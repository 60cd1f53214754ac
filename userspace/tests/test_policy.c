// SPDX-License-Identifier: GPL-2.0
/* Policies up to where the kernel comes in: times, the files that were built, and files that are none. KUP_POLICIES: a directory of them. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <json-c/json.h>

#include <kup/policy.h>

#include "json.h"
#include "ktap.h"
#include "policy.h"
#include "util.h"

static const char *dir(void)
{
	return getenv("KUP_POLICIES") ?: "../build/bpf";
}

static void test_durations(void)
{
	static const char *const bad[] = { "", "10", "s", "-1s", "+1s", " 1s", "1 s", "1.5s", "10sec", "99999999999999999999s", "18446744073709551615h" };
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = { { "500ms", 500000000 }, { "10s", 10000000000 }, { "2m", 120000000000 }, { "1h", 3600000000000 }, { "3us", 3000 }, { "7ns", 7 } };
	char text[32];
	uint64_t ns;
	size_t i;

	for (i = 0; i < KUP_ARRAY_SIZE(bad); i++)
		CHECK_FOR(kup_duration(bad[i], &ns) == -EINVAL, "%s", bad[i]);
	for (i = 0; i < KUP_ARRAY_SIZE(good); i++) {
		CHECK_FOR(kup_duration(good[i].text, &ns) == 0 && ns == good[i].ns, "%s", good[i].text);
		kup_duration_text(good[i].ns, text);	/* before the check, whose words come first */
		CHECK_FOR(!strcmp(text, good[i].text), "%s", text);
	}
	CHECK(!strcmp(kup_duration_text(0, text), "0ns"));
}

static void test_shipped(void)
{
	static const char *const want[] = { "lock", "runaway", "stuck" };
	struct kup_policy p;
	struct kup_err err = { 0 };
	struct json_object *o;
	char **names;
	int i, nr = kup_policy_names(dir(), &names, &err);

	if (!CHECK_FOR(nr == 3, "%s has %d policies", dir(), nr))
		return;
	for (i = 0; i < nr; i++) {
		CHECK(!strcmp(names[i], want[i]));
		if (!CHECK_FOR(kup_policy_open(dir(), names[i], &p, &err) == 0, "%.150s", err.what))
			continue;
		o = kup_policy_describe(&p);
		CHECK(*kup_json_text(o, "about") && !strcmp(kup_json_text(o, "name"), names[i]));
		CHECK(p.bound_ns >= 1000000000);
		CHECK(kup_policy_period(&p) == p.bound_ns / KUP_POLICY_LOOKS);
		json_object_put(o);
		kup_policy_close(&p);
		free(names[i]);
	}
	free(names);
}

static void test_parameters(void)
{
	struct kup_err err = { 0 };
	struct json_object *o, *all;
	struct kup_policy p;

	if (!CHECK_FOR(kup_policy_open(dir(), "runaway", &p, &err) == 0, "%.150s", err.what))
		return;
	CHECK(kup_policy_set(&p, "bound", "2s", &err) == 0 && p.bound_ns == 2000000000);
	CHECK(kup_policy_set(&p, "tasks", "7", &err) == 0);
	CHECK(kup_policy_set(&p, "bound", "2", &err) == -EINVAL && strstr(err.what, "no time") && err.next[0]);
	CHECK(kup_policy_set(&p, "bound", "1ms", &err) == -ERANGE);
	CHECK(kup_policy_set(&p, "bound", "2h", &err) == -ERANGE);
	CHECK(kup_policy_set(&p, "bound_ns", "2s", &err) == -EINVAL);
	CHECK(kup_policy_set(&p, "tasks", "7x", &err) == -EINVAL);
	CHECK(kup_policy_set(&p, "tasks", "-7", &err) == -EINVAL);
	CHECK(kup_policy_set(&p, "kup_policy_version", "7", &err) == -EINVAL && strstr(err.next, "tasks"));
	CHECK(kup_policy_set(&p, "about", "7", &err) == -EINVAL);
	o = kup_policy_describe(&p);
	all = json_object_object_get(o, "parameters");
	CHECK(!strcmp(kup_json_text(all, "bound"), "2s") && kup_json_int(all, "tasks") == 7 && kup_json_int(all, "fall") == 20);
	json_object_put(o);
	kup_policy_close(&p);
}

static void test_none(void)
{
	char tmp[] = "/tmp/kup-test.XXXXXX", path[64];
	struct kup_err err = { 0 };
	struct kup_policy p;
	char **names;

	if (!CHECK(mkdtemp(tmp)))
		return;
	CHECK(kup_policy_names(tmp, &names, &err) == 0);
	CHECK(kup_policy_open(tmp, "nothing", &p, &err) == -ENOENT && strstr(err.what, "nothing.bpf.o"));
	CHECK(kup_policy_open(tmp, "../lock", &p, &err) == -ENOENT);
	snprintf(path, sizeof(path), "%s/noise.bpf.o", tmp);
	CHECK(kup_replace_file(path, "this is no object file") == 0);
	CHECK(kup_policy_open(tmp, "noise", &p, &err) < 0 && strstr(err.what, "noise.bpf.o") && err.next[0]);
	unlink(path);
	/* an object file, but no policy: this test's own */
	snprintf(path, sizeof(path), "%s/native.bpf.o", tmp);
	CHECK(symlink("/proc/self/exe", path) == 0);
	CHECK(kup_policy_open(tmp, "native", &p, &err) < 0 && strstr(err.what, "native.bpf.o") && err.next[0]);
	unlink(path);
	rmdir(tmp);
}

#define BEGIN_LOG "libbpf: prog 'look': BPF program load failed: Permission denied\nlibbpf: prog 'look': -- BEGIN PROG LOAD LOG --\n"
#define END_LOG "-- END PROG LOAD LOG --\nlibbpf: prog 'look': failed to load: -13\nlibbpf: failed to load object 'x'\n"

static void test_cause(void)
{
	static const struct {
		const char *log, *cause;
	} logs[] = {
		{ "", "" },
		{ "libbpf: failed to find BTF for extern 'nr' [14] section: -2\n\nlibbpf: next\nlibbpf: and so on\n",
		  "failed to find BTF for extern 'nr' [14] section: -2 | next" },
		{ BEGIN_LOG "0: R1=ctx() R10=fp0\n; return *x;\n0: (85) call bpf_ktime_get_ns#5       ; R0=scalar()\n1: (61) r0 = *(u32 *)(r0 +0)\n"
			    "R0 invalid mem access 'scalar'\nprocessed 2 insns (limit 1000000) max_states_per_insn 0\n" END_LOG,
		  "1: (61) r0 = *(u32 *)(r0 +0) | R0 invalid mem access 'scalar'" },
		/* since 7.3 */
		{ BEGIN_LOG "1: (61) r0 = *(u32 *)(r0 +0)\nR0 invalid mem access 'scalar'\n\nVerification failed: Register Type Safety\n\nReason:\n  R0 is an "
			    "integer scalar here\n  Instruction context:\n  >>> 1 | (61) r0 = *(u32 *)(r0 +0)\n      2 | (95) exit\nprocessed 2 insns\n" END_LOG,
		  "1: (61) r0 = *(u32 *)(r0 +0) | R0 invalid mem access 'scalar'" },
		{ BEGIN_LOG "312: (b7) r1 = 0\n313: <invalid CO-RE relocation>\nfailed to resolve CO-RE relocation <byte_off> [48] struct a.b\n"
			    "processed 5 insns\n" END_LOG,
		  "313: <invalid CO-RE relocation> | failed to resolve CO-RE relocation <byte_off> [48] struct a.b" },
		{ BEGIN_LOG "processed 0 insns\n" END_LOG,
		  "prog 'look': BPF program load failed: Permission denied | prog 'look': -- BEGIN PROG LOAD LOG --" },
	};
	char out[200];
	size_t i;

	for (i = 0; i < KUP_ARRAY_SIZE(logs); i++) {
		kup_policy_cause(logs[i].log, out, sizeof(out));
		CHECK_FOR(!strcmp(out, logs[i].cause), "%zu: %.100s", i, out);
	}
}

static const struct ktap_test tests[] = {
	{ "times", test_durations },
	{ "the policies that come with kup-ppp keep the contract", test_shipped },
	{ "parameters are set by their names, and refused", test_parameters },
	{ "the verifier's cause is found in its log", test_cause },
	{ "files that are no policies are refused by name", test_none },
};
KTAP_MAIN(tests)
