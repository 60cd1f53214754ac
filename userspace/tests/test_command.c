// SPDX-License-Identifier: GPL-2.0
/* The parts of the command that need neither module nor kernel: store format, configuration, plan, steps. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <json-c/json.h>

#include "conf.h"
#include "criu.h"
#include "fault.h"
#include "files.h"
#include "health.h"
#include "kernel.h"
#include "ktap.h"
#include "pack.h"
#include "plan.h"
#include "steps.h"
#include "sysctl.h"
#include "units.h"
#include "util.h"

static char dir[] = "/tmp/kup-test.XXXXXX";

static const char *at(const char *name)
{
	static char path[4][256];
	static unsigned int n;

	n = (n + 1) % 4;
	snprintf(path[n], sizeof(path[n]), "%s/%s", dir, name);
	return path[n];
}

static void put(const char *name, const char *text)
{
	CHECK(kup_replace_file(at(name), text) == 0);
}

static int stream(void)
{
	return memfd_create("store", 0);
}

static void test_pack(void)
{
	struct kup_err err;
	uint64_t bytes = 0;
	size_t len;
	char *text;
	int fd = stream();

	mkdir(at("in"), 0700);
	mkdir(at("out"), 0700);
	put("in/a.img", "content of a");
	put("in/empty.img", "");
	CHECK(kup_pack_dir(fd, at("in"), "123", &bytes, &err) == 0);
	CHECK(kup_pack_text(fd, "plan.json", "{}", &err) == 0);
	CHECK(kup_pack_end(fd, &err) == 0);
	CHECK(bytes == 12);
	lseek(fd, 0, SEEK_SET);
	CHECK(kup_unpack(fd, at("out"), &err) == 0);
	text = kup_slurp(at("out/123/a.img"), &len);
	CHECK(text && len == 12 && !strcmp(text, "content of a"));
	free(text);
	text = kup_slurp(at("out/123/empty.img"), &len);
	CHECK(text && len == 0);
	free(text);
	close(fd);
}

/* Every prefix of a good stream is refused, and nothing is written outside of the directory. */
static void test_unpack_bad(void)
{
	static const char *const names[] = { "/abs", "../up", "a/../b", "a/b/c", ".hidden", "a/", "a/.b", "" };
	struct kup_pack_entry e = { .magic = KUP_PACK_MAGIC, .size = 1 };
	struct kup_err err;
	off_t end;
	size_t i;
	int fd = stream();

	CHECK(kup_pack_text(fd, "1/x", "hello", &err) == 0 && kup_pack_end(fd, &err) == 0);
	end = lseek(fd, 0, SEEK_CUR);
	while (--end >= 0) {
		CHECK(ftruncate(fd, end) == 0);
		lseek(fd, 0, SEEK_SET);
		CHECK_FOR(kup_unpack(fd, at("out"), &err) < 0, "%ld bytes", (long)end);
	}
	for (i = 0; i < KUP_ARRAY_SIZE(names) - 1; i++) {
		CHECK(ftruncate(fd, 0) == 0);
		lseek(fd, 0, SEEK_SET);
		e.name_len = strlen(names[i]);
		CHECK(write(fd, &e, sizeof(e)) == sizeof(e) && write(fd, names[i], e.name_len) == (ssize_t)e.name_len &&
		      write(fd, "x", 1) == 1);
		kup_pack_end(fd, &err);
		lseek(fd, 0, SEEK_SET);
		CHECK_FOR(kup_unpack(fd, at("out"), &err) == -EBADMSG, "%s", names[i]);
	}
	close(fd);
}

static void test_conf(void)
{
	struct kup_conf c;
	struct kup_err err;

	mkdir(at("conf.d"), 0700);
	put("conf", "# comment\n target = a \nkernel=/k1 # and more\nappend = x\n\n");
	put("conf.d/20.conf", "kernel = /k3\nappend = z");
	put("conf.d/10.conf", "target = b.service\nkernel = /k2\nappend = y");
	put("conf.d/30.other", "nonsense");
	CHECK(kup_conf_read(at("conf"), &c, &err) == 0);
	CHECK(c.nr_targets == 2 && !strcmp(c.targets[0], "a") && !strcmp(c.targets[1], "b.service"));
	CHECK(!strcmp(c.kernel, "/k3") && !strcmp(c.append, "x y z") && !c.initrd);
	CHECK(kup_conf_targets(&c, (char *[]){ "9" }, 1) == 0 && c.nr_targets == 1 && !strcmp(c.targets[0], "9"));
	kup_conf_free(&c);
	CHECK(kup_conf_read(at("none"), &c, &err) == 0 && !c.nr_targets);
	kup_conf_free(&c);
	put("conf", "target a\n");
	CHECK(kup_conf_read(at("conf"), &c, &err) == -EINVAL && strstr(err.what, "conf:1"));
	put("conf", "keep = /srv/a\nkeep = /srv/b\n");
	CHECK(kup_conf_read(at("conf"), &c, &err) == 0 && c.nr_keep == 2 && !strcmp(c.keep[1], "/srv/b"));
	kup_conf_free(&c);
	put("conf", "keep = srv\n");
	CHECK(kup_conf_read(at("conf"), &c, &err) == -ERANGE && strstr(err.what, "conf:1"));
	put("conf", "\nbogus = a\n");
	CHECK(kup_conf_read(at("conf"), &c, &err) == -EINVAL && strstr(err.what, "conf:2") && strstr(err.what, "bogus"));
}

static void test_health(void)
{
	struct json_object *plan = json_object_new_object();
	struct kup_conf c;
	struct kup_err err = { 0 };
	long long begin;

	put("conf", "health = true\nhealth = echo one; exit 3\n");
	CHECK(kup_conf_read(at("conf"), &c, &err) == 0 && c.nr_health == 2);
	CHECK(kup_health_check(&c, &err) == -EINVAL && strstr(err.what, "no kernel to go back to"));
	c.fallback = true;
	CHECK(kup_health_check(&c, &err) == 0);
	c.fallback_seconds = c.health_seconds = 7;
	CHECK(kup_health_check(&c, &err) == -EINVAL && strstr(err.what, "7 s"));
	c.health_seconds = 1;
	kup_health_to_plan(&c, plan);
	CHECK(kup_health_wanted(plan));
	CHECK(kup_health_run(plan, &err) == -EIO && strstr(err.what, "`echo one; exit 3` ended with status 3: one"));
	kup_conf_free(&c);
	/* With what it has started, and within its time; another one does not begin then. */
	put("conf", "health = sleep 100 & sleep 100\nhealth = false\nhealth-seconds = 1\n");
	CHECK(kup_conf_read(at("conf"), &c, &err) == 0);
	kup_health_to_plan(&c, plan);
	begin = kup_now_ms();
	CHECK(kup_health_run(plan, &err) == -ETIMEDOUT && strstr(err.what, "does not answer within 1 s"));
	CHECK(kup_now_ms() - begin >= 1000 && kup_now_ms() - begin < 30000);
	kup_conf_free(&c);
	put("conf", "health = true\n");
	CHECK(kup_conf_read(at("conf"), &c, &err) == 0);
	kup_health_to_plan(&c, plan);
	CHECK(kup_health_run(plan, &err) == 0);
	kup_conf_free(&c);
	put("conf", "");
	CHECK(kup_conf_read(at("conf"), &c, &err) == 0);
	kup_health_to_plan(&c, plan);
	CHECK(!kup_health_wanted(plan) && kup_health_check(&c, &err) == 0);
	kup_conf_free(&c);
	json_object_put(plan);
}

static void test_conf_policies(void)
{
	struct kup_conf c;
	struct kup_err err;

	put("conf", "policy = lock bound=10s tasks=2\non-alarm = report\n");
	unlink(at("conf.d/20.conf"));
	put("conf.d/10.conf", "policy = stuck off\non-alarm = logger \"$KUP_ALARM\"");
	CHECK(kup_conf_read(at("conf"), &c, &err) == 0);
	CHECK(c.nr_policies == 2 && !strcmp(c.policies[0], "lock bound=10s tasks=2") && !strcmp(c.policies[1], "stuck off"));
	CHECK(c.on_alarm && !strcmp(c.on_alarm, "logger \"$KUP_ALARM\""));
	kup_conf_free(&c);
}

static void test_release(void)
{
	CHECK(kup_release_major_minor("6.1.0-56-cloud-amd64") == 6001);
	CHECK(kup_release_major_minor("7.3-rc7") == 7003);
	CHECK(kup_release_major_minor("linux") == 0);
}

static void test_steps(void)
{
	struct kup_steps s = { 0 }, t = { 0 };
	struct json_object *o;
	int i;

	kup_step_begin(&s, "one", NULL);
	kup_step_begin(&s, "two", NULL);
	CHECK(s.step[0].end && !s.step[1].end && !strcmp(kup_step_name(&s), "two"));
	kup_step_end(&s, NULL);
	o = kup_steps_to_json(&s);
	json_object_array_add(o, json_object_new_string("no step"));
	kup_steps_from_json(o, &t);
	CHECK(t.nr == 2 && t.step[1].begin == s.step[1].begin && t.step[1].end == s.step[1].end);
	json_object_put(o);
	for (i = 0; i < 100; i++)
		kup_step_add(&t, "many", 1, 2);
	CHECK(t.nr == KUP_ARRAY_SIZE(t.step));
	kup_steps_from_json(NULL, &t);
}

static void test_faults(void)
{
	struct kup_steps s = { 0 };
	struct kup_err err = { 0 };

	setenv("KUP_FAULT", "before:dmup:kill", 1);
	CHECK(kup_fault_check(&err) == -EINVAL && strstr(err.what, "before:dmup:kill"));
	setenv("KUP_FAULT", "before:seal:criu", 1);
	CHECK(kup_fault_check(&err) == -EINVAL);
	setenv("KUP_FAULT", "before:attach:power", 1);	/* nothing here may let it strike */
	CHECK(kup_fault_check(&err) == 0);
	setenv("KUP_FAULT", "after:seal:oom", 1);
	CHECK(kup_fault_check(&err) == 0);
	CHECK(kup_step_begin(&s, "seal", &err) == 0);
	CHECK(kup_step_end(&s, NULL) == 0);
	CHECK(kup_step_begin(&s, "seal", &err) == 0);
	CHECK(kup_step_begin(&s, "adopt", &err) == -ENOMEM && s.nr == 2);
	/* only once */
	CHECK(kup_step_begin(&s, "seal", &err) == 0 && kup_step_end(&s, &err) == 0);
	unsetenv("KUP_FAULT");
	CHECK(kup_fault_check(&err) == 0);
}

static void test_plan(void)
{
	static const char *const bad[] = {
		"", "[]", "{}", "{\"version\":1}", "{\"version\":1,\"trees\":[],\"steps\":1}",
		"{\"version\":2,\"trees\":[],\"steps\":[]}", "{\"version\":1,\"trees\":[1],\"steps\":[]}",
		"{\"version\":1,\"trees\":[{\"root\":1,\"tasks\":[]}],\"steps\":[]}",
		"{\"version\":1,\"trees\":[{\"root\":1,\"tasks\":[{\"pid\":1,\"cgroup\":1,\"threads\":[]}]}],\"steps\":[]}",
	};
	struct kup_task task = { .pid = 5, .comm = "x", .tids = (pid_t[]){ 5, 6 }, .nr_tids = 2 };
	struct kup_tree tree = { .tasks = &task, .nr = 1 };
	struct kup_forest forest = { .trees = &tree, .nr = 1 };
	struct kup_criu criu = { .text = "3.17.1" };
	struct kup_preserve p = { .pages = 100, .huge = 1, .left = 3 };
	struct json_object *o, *back;
	struct kup_err err;
	size_t i;

	for (i = 0; i < KUP_ARRAY_SIZE(bad); i++) {
		put("plan.json", bad[i]);
		CHECK_FOR(!kup_plan_read(at("plan.json"), &err), "%s", bad[i]);
	}
	o = kup_plan_new(&forest, &criu, "6.1", "6.12");
	kup_plan_preserved(o, 5, &p);
	json_object_object_add(o, "steps", json_object_new_array());
	put("plan.json", json_object_to_json_string(o));
	back = kup_plan_read(at("plan.json"), &err);
	CHECK(back && json_object_equal(o, back));
	json_object_put(back);
	json_object_put(o);
}

/* All that a directory may have, over what has some of the names. */
static void test_files_whole(void)
{
	static const struct timespec then[2] = { { 1000000000, 1 }, { 1100000000, 999999999 } };
	struct json_object *files = json_object_new_object(), *again;
	char to[64] = "", first[256];
	struct kup_err err;
	uint64_t bytes = 0;
	struct stat st, other;
	int fd = stream();

	mkdir(at("kept"), 0750);
	put("kept/a", "content");
	snprintf(first, sizeof(first), "%s", at("kept/a"));
	CHECK(!link(first, at("kept/b")) && !symlink("nowhere", at("kept/link")) && !mkdir(at("kept/sub"), 0500));
	CHECK(!utimensat(AT_FDCWD, first, then, 0) && !utimensat(AT_FDCWD, at("kept/link"), then, AT_SYMLINK_NOFOLLOW) &&
	      !utimensat(AT_FDCWD, at("kept/sub"), then, 0) && !utimensat(AT_FDCWD, at("kept"), then, 0));
	/* second names and what is in a directory may be found before the first and the directory itself */
	CHECK(!lstat(at("kept/b"), &st) && !kup_file_note_whole(files, at("kept/b"), &st, first));
	CHECK(!lstat(first, &st) && !kup_file_note_whole(files, first, &st, NULL));
	CHECK(!lstat(at("kept/link"), &st) && !kup_file_note_whole(files, at("kept/link"), &st, NULL));
	CHECK(!lstat(at("kept/sub"), &st) && !kup_file_note_whole(files, at("kept/sub"), &st, NULL));
	CHECK(!lstat(at("kept"), &st) && !kup_file_note_whole(files, at("kept"), &st, NULL));
	CHECK(kup_files_store(files, fd, &bytes, &err) == 0 && kup_pack_end(fd, &err) == 0 && bytes == 7);
	lseek(fd, 0, SEEK_SET);
	mkdir(at("kept-store"), 0700);
	CHECK(kup_unpack(fd, at("kept-store"), &err) == 0);
	again = json_tokener_parse(json_object_to_json_string(files));
	kup_remove_tree(at("kept"));

	mkdir(at("kept"), 0700);
	put("kept/sub", "a file");
	mkdir(at("kept/b"), 0700);
	put("kept/a", "another");	/* as long */
	CHECK(kup_files_put(again, at("kept-store"), &err) == 0);
	CHECK(!lstat(first, &st) && !lstat(at("kept/b"), &other) && st.st_ino == other.st_ino && st.st_size == 7);
	CHECK(st.st_mtim.tv_sec == 1100000000 && st.st_mtim.tv_nsec == 999999999 && st.st_atim.tv_sec == 1000000000);
	CHECK(readlink(at("kept/link"), to, sizeof(to) - 1) == 7 && !strcmp(to, "nowhere"));
	CHECK(!lstat(at("kept/link"), &st) && st.st_mtim.tv_sec == 1100000000);
	CHECK(!lstat(at("kept/sub"), &st) && S_ISDIR(st.st_mode) && (st.st_mode & 07777) == 0500 && st.st_mtim.tv_sec == 1100000000);
	CHECK(!lstat(at("kept"), &st) && (st.st_mode & 07777) == 0750 && st.st_mtim.tv_sec == 1100000000);

	/* a directory with something in it does not give way to a file */
	CHECK(!unlink(at("kept/a")) && !mkdir(at("kept/a"), 0700));
	put("kept/a/precious", "x");
	CHECK(kup_files_put(again, at("kept-store"), &err) == -ENOTEMPTY && strstr(err.what, "kept/a"));
	json_object_put(again);
	json_object_put(files);
	close(fd);
}

static void test_files(void)
{
	struct json_object *files = json_object_new_object();
	struct kup_err err;
	uint64_t bytes = 0;
	struct stat st;
	char *text;
	int fd = stream();

	mkdir(at("vol"), 0750);
	put("vol/log", "one line\n");
	chmod(at("vol/log"), 0640);
	mkfifo(at("vol/fifo"), 0600);
	CHECK(!stat(at("vol"), &st));
	kup_file_note(files, at("vol"), &st);
	CHECK(!stat(at("vol/log"), &st));
	kup_file_note(files, at("vol/log"), &st);
	kup_file_note(files, at("vol/log"), &st);
	CHECK(!stat(at("vol/fifo"), &st));
	kup_file_note(files, at("vol/fifo"), &st);
	CHECK(json_object_object_length(files) == 3);
	CHECK(kup_files_store(files, fd, &bytes, &err) == 0 && kup_pack_end(fd, &err) == 0 && bytes == 9);
	lseek(fd, 0, SEEK_SET);
	mkdir(at("back"), 0700);
	CHECK(kup_unpack(fd, at("back"), &err) == 0);
	kup_remove_tree(at("vol"));
	CHECK(kup_files_put(files, at("back"), &err) == 0);
	text = kup_slurp(at("vol/log"), NULL);
	CHECK(text && !strcmp(text, "one line\n"));
	free(text);
	CHECK(!stat(at("vol/log"), &st) && (st.st_mode & 07777) == 0640);
	CHECK(!stat(at("vol/fifo"), &st) && S_ISFIFO(st.st_mode));
	CHECK(!stat(at("vol"), &st) && (st.st_mode & 07777) == 0750);
	json_object_put(files);
	close(fd);
}

static void setup(void)
{
	CHECK(mkdtemp(dir) != NULL);
}

static void teardown(void)
{
	kup_remove_tree(dir);
	CHECK(access(dir, F_OK) < 0);
}

static void test_criu(void)
{
	static const struct {
		int criu;
		const char *release, *need;
	} known[] = {
		{ 31701, "6.1.0-56-cloud-amd64", NULL }, { 31701, "6.12.117+deb12-amd64", NULL }, { 31601, "6.1.0", "3.17" },
		{ 31701, "6.13.0", "4.1" }, { 40101, "6.15.9", NULL }, { 31701, "6.16.3+deb13-amd64", "4.2" },
		{ 40101, "6.16.3+deb13-amd64", "4.2" }, { 40101, "7.2.13+deb14-amd64", "4.2" }, { 40201, "7.2.13+deb14-amd64", NULL },
		{ 40201, "7.3-cloud-amd64", NULL }, { 40201, "6.1.0", NULL }, { 40101, "10.0.0", "4.2" },
	};
	struct kup_criu criu = { .program = "criu", .text = "x.y.z" };
	struct kup_err err;
	char install[32];

	for (size_t i = 0; i < KUP_ARRAY_SIZE(known); i++) {
		int ret;

		criu.version = known[i].criu;
		ret = kup_criu_fits(&criu, known[i].release, &err);
		CHECK_FOR(ret == (known[i].need ? -ENOTSUP : 0), "%d on %s", criu.version, known[i].release);
		if (!known[i].need || !ret)
			continue;
		snprintf(install, sizeof(install), "install criu %s ", known[i].need);
		CHECK_FOR(strstr(err.what, known[i].release) && strstr(err.next, install), "%.100s", err.next);
	}
	criu.version = 31701;
	CHECK(!kup_criu_reads(&criu, "3.17.1", &err) && !kup_criu_reads(&criu, "3.17.0", &err));
	CHECK(kup_criu_reads(&criu, "4.2.1", &err) == -ENOTSUP && strstr(err.next, "criu 4.2.1"));
}

static bool holds(const char *name, const char *text)
{
	char *is = kup_slurp(at(name), NULL);
	bool same = is && !strcmp(is, text);

	free(is);
	return same;
}

static void test_sysctl(void)
{
	put("setting", "0\n");
	kup_sysctl_return(at("setting"), at("saved"));
	CHECK(holds("setting", "0\n"));
	CHECK(!kup_sysctl_lend(at("setting"), at("saved"), "1\n") && holds("setting", "1\n"));
	/* who lent it is killed; the next one lends it again */
	CHECK(!kup_sysctl_lend(at("setting"), at("saved"), "2\n") && holds("setting", "2\n"));
	kup_sysctl_return(at("setting"), at("saved"));
	CHECK(holds("setting", "0\n"));
	put("setting", "5\n");
	kup_sysctl_return(at("setting"), at("saved"));
	CHECK(holds("setting", "5\n"));
	CHECK(kup_sysctl_lend(at("none"), at("saved"), "1") < 0 && access(at("saved"), F_OK));
}

static void test_units(void)
{
	static const char *const in[][2] = {
		{ "/system.slice/cache.service", "cache.service" }, { "/system.slice/cache.service/payload", "cache.service" },
		{ "/system.slice/system-memcached.slice/memcached@1.service", "memcached@1.service" },
		{ "/", "" }, { "/system.slice", "" }, { "/.service", "" }, { "/a.services", "" }, { "/user.slice/user-7.slice/user@7.service/x.service", "" },
	};
	char unit[256], longest[300];

	for (size_t i = 0; i < KUP_ARRAY_SIZE(in); i++) {
		bool is = kup_unit_of(in[i][0], unit);

		CHECK_FOR(is == !!*in[i][1] && (!is || !strcmp(unit, in[i][1])), "%s", in[i][0]);
	}
	memset(longest, 'x', sizeof(longest));
	strcpy(longest + 255 - 8, ".service");
	CHECK(kup_unit_of(longest, unit) && strlen(unit) == 255);
	memset(longest, 'x', 255);
	strcpy(longest + 256 - 8, ".service");
	CHECK(!kup_unit_of(longest, unit));
}

static const struct ktap_test tests[] = {
	{ "setup", setup },
	{ "store: files go in and come out", test_pack },
	{ "store: malformed streams are refused", test_unpack_bad },
	{ "configuration and drop-ins", test_conf },
	{ "configured policies", test_conf_policies },
	{ "a setting that is lent comes back", test_sysctl },
	{ "releases", test_release },
	{ "steps", test_steps },
	{ "faults on demand", test_faults },
	{ "health commands", test_health },
	{ "plan", test_plan },
	{ "the service of a cgroup", test_units },
	{ "files in memory", test_files },
	{ "files in memory: whole directories", test_files_whole },
	{ "teardown", teardown },
	{ "which CRIU serves which kernel", test_criu },
};
KTAP_MAIN(tests)
