// SPDX-License-Identifier: GPL-2.0
/* Policies by libbpf: what the file says of itself is read from its BTF, so that one that is dropped in needs nothing here. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <json-c/json.h>
#include <linux/perf_event.h>

#include <kup/policy.h>

#include "policy.h"
#include "util.h"

#define SUFFIX		".bpf.o"
#define MIN_BOUND_NS	200000000ull
#define MAX_BOUND_NS	3600000000000ull

/* --- times --- */

static const struct {
	const char *unit;
	uint64_t ns;
} units[] = { { "h", 3600000000000ull }, { "m", 60000000000ull }, { "s", 1000000000ull }, { "ms", 1000000ull }, { "us", 1000ull }, { "ns", 1 } };

int kup_duration(const char *text, uint64_t *ns)
{
	unsigned long long v;
	char *end;
	size_t i;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	for (i = 0; i < KUP_ARRAY_SIZE(units); i++)
		if (!strcmp(end, units[i].unit))
			return __builtin_mul_overflow(v, units[i].ns, ns) ? -EINVAL : 0;
	return -EINVAL;
}

const char *kup_duration_text(uint64_t ns, char *text)
{
	size_t i;

	for (i = 0; i < KUP_ARRAY_SIZE(units) - 1 && (ns % units[i].ns || !ns); i++)
		;
	snprintf(text, 32, "%" PRIu64 "%s", ns / units[i].ns, units[i].unit);
	return text;
}

/* --- what libbpf says --- */

static char *said;		/* since the last said_nothing() */
static size_t said_len;
static bool said_aloud;

static int hear(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char *line = NULL, *more;
	int len;

	if (level == LIBBPF_DEBUG)
		return 0;
	len = vasprintf(&line, fmt, ap);
	if (len < 0)
		return 0;
	if (said_aloud)
		fputs(line, stderr);
	more = realloc(said, said_len + len + 1);
	if (more) {
		said = more;
		memcpy(said + said_len, line, len + 1);
		said_len += len;
	}
	free(line);
	return 0;
}

static void said_nothing(void)
{
	free(said);
	said = NULL;
	said_len = 0;
}

static const char *without_prefix(const char *line)
{
	return kup_starts(line, "libbpf: ") ? line + strlen("libbpf: ") : line;
}

static bool is_instruction(const char *line)
{
	size_t digits = strspn(line, "0123456789");

	return digits && (kup_starts(line + digits, ": (") || kup_starts(line + digits, ": <"));
}

static void join(char *out, size_t size, const char *line)
{
	snprintf(out + strlen(out), size - strlen(out), "%s%.90s%s", *out ? " | " : "", line, strlen(line) > 90 ? "..." : "");
}

/*
 * In the verifier's log that is the last instruction that it looked at, and the line that follows: before Linux 7.3 only statistics come
 * after them, from then on pages of advice. libbpf's own words have the cause first, and then what follows from it.
 */
void kup_policy_cause(const char *log, char *out, size_t size)
{
	char *copy = strdup(log), *rest, *line;
	const char *insn = NULL, *cause = NULL;
	size_t nr = 0;

	out[0] = '\0';
	rest = copy ? strstr(copy, "-- BEGIN PROG LOAD LOG --") : NULL;
	if (rest)
		strsep(&rest, "\n");
	while (rest && (line = strsep(&rest, "\n")) && !strstr(line, "-- END PROG LOAD LOG --")) {
		line = kup_trim(line);
		if (is_instruction(line)) {
			insn = line;
			cause = NULL;
		} else if (!cause && *line && *line != ';' && !kup_starts(line, "processed ")) {
			cause = line;
		}
	}
	if (insn)
		join(out, size, insn);
	if (cause)
		join(out, size, cause);
	free(copy);
	if (*out)
		return;
	copy = strdup(log);
	for (rest = copy; nr < 2 && rest && (line = strsep(&rest, "\n"));) {
		line = kup_trim(line);
		if (!*line)
			continue;
		join(out, size, without_prefix(line));
		nr++;
	}
	free(copy);
}

static void last_words(char *out, size_t size)
{
	kup_policy_cause(said ?: "", out, size);
}

/* --- the file --- */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int kup_policy_names(const char *dir, char ***names, struct kup_err *err)
{
	char pattern[600];
	glob_t g;
	size_t i;
	int ret;

	*names = NULL;
	snprintf(pattern, sizeof(pattern), "%s/*" SUFFIX, dir);
	if (glob(pattern, 0, NULL, &g))
		return 0;
	*names = calloc(g.gl_pathc + 1, sizeof(**names));
	for (i = 0; *names && i < g.gl_pathc; i++) {
		const char *base = strrchr(g.gl_pathv[i], '/') + 1;

		(*names)[i] = strndup(base, strlen(base) - strlen(SUFFIX));
	}
	ret = *names ? (int)g.gl_pathc : kup_err_set(err, -ENOMEM, "no memory");
	globfree(&g);
	if (ret > 0)
		qsort(*names, ret, sizeof(**names), by_name);
	return ret;
}

struct parameter {
	const char *name;
	char *at;
	size_t size;
	bool number;		/* a __u64 */
};

/* The @i-th variable of the policy's .rodata. False if there is none. */
static bool parameter(const struct kup_policy *p, unsigned int i, struct parameter *out)
{
	struct bpf_map *map = bpf_object__find_map_by_name(p->obj, ".rodata");
	const struct btf *btf = bpf_object__btf(p->obj);
	const struct btf_type *sec, *var, *type;
	const struct btf_var_secinfo *info;
	const char *section;
	size_t size;
	char *data;
	int id;

	data = map ? (char *)bpf_map__initial_value(map, &size) : NULL;
	id = data && btf ? btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC) : -ENOENT;
	if (id < 0)
		return false;
	sec = btf__type_by_id(btf, id);
	if (i >= btf_vlen(sec))
		return false;
	info = btf_var_secinfos(sec) + i;
	if (info->offset > size || info->size > size - info->offset)
		return false;
	var = btf__type_by_id(btf, info->type);
	section = btf__name_by_offset(btf, var->name_off);
	for (type = btf__type_by_id(btf, var->type); btf_is_mod(type) || btf_is_typedef(type);)
		type = btf__type_by_id(btf, type->type);
	*out = (struct parameter){ .name = section, .at = data + info->offset, .size = info->size };
	out->number = btf_is_int(type) && info->size == 8 && btf_var(var)->linkage == BTF_VAR_GLOBAL_ALLOCATED;
	return true;
}

static bool find(const struct kup_policy *p, const char *name, struct parameter *out)
{
	unsigned int i;

	for (i = 0; parameter(p, i, out); i++)
		if (!strcmp(out->name, name))
			return true;
	return false;
}

static bool is_time(const struct parameter *v)
{
	return strlen(v->name) > 3 && !strcmp(v->name + strlen(v->name) - 3, "_ns");
}

/* What it is called outside. */
static const char *key_of(const struct parameter *v, char *key, size_t size)
{
	snprintf(key, size, "%.*s", (int)strlen(v->name) - (is_time(v) ? 3 : 0), v->name);
	return key;
}

static int not_a_policy(const struct kup_policy *p, struct kup_err *err, const char *why)
{
	kup_err_set(err, -ENOEXEC, "%s is no policy for this kup-ppp: %s", p->path, why);
	kup_err_next(err, "build it with KUP_POLICY() of the <kup/policy.h> that came with this kup-ppp");
	return -ENOEXEC;
}

static int check_contract(struct kup_policy *p, struct kup_err *err)
{
	struct parameter v;
	struct bpf_map *alarms;
	char why[96];

	if (!find(p, "kup_policy_version", &v) || v.size != 4)
		return not_a_policy(p, err, "it has no kup_policy_version");
	if (*(uint32_t *)v.at != KUP_POLICY_VERSION) {
		snprintf(why, sizeof(why), "it is of version %u, not %u", *(uint32_t *)v.at, KUP_POLICY_VERSION);
		return not_a_policy(p, err, why);
	}
	if (!find(p, "about", &v) || !v.size || v.at[v.size - 1])
		return not_a_policy(p, err, "it has no text `about`");
	alarms = bpf_object__find_map_by_name(p->obj, "alarms");
	if (!alarms || bpf_map__type(alarms) != BPF_MAP_TYPE_RINGBUF)
		return not_a_policy(p, err, "it has no ring buffer `alarms`");
	if (!find(p, "bound_ns", &v) || !v.number)
		return not_a_policy(p, err, "it has no `const volatile __u64 bound_ns`");
	p->bound_ns = *(uint64_t *)v.at;
	return 0;
}

int kup_policy_open(const char *dir, const char *name, struct kup_policy *p, struct kup_err *err)
{
	char words[200];
	int ret;

	*p = (struct kup_policy){ 0 };
	snprintf(p->name, sizeof(p->name), "%s", name);
	snprintf(p->path, sizeof(p->path), "%s/%s" SUFFIX, dir, name);
	if (strchr(name, '/') || access(p->path, R_OK))
		return kup_err_set(err, -ENOENT, "%s: %s", p->path, strerror(errno));
	said_nothing();
	libbpf_set_print(hear);
	p->obj = bpf_object__open_file(p->path, NULL);
	if (!p->obj) {
		ret = -errno;
		last_words(words, sizeof(words));
		kup_err_set(err, ret, "%s cannot be read: %s", p->path, *words ? words : strerror(-ret));
		kup_err_next(err, "a policy is an object file made by clang -target bpf; move what is none out of %s", dir);
		return ret;
	}
	ret = check_contract(p, err);
	if (ret)
		kup_policy_close(p);
	return ret;
}

void kup_policy_close(struct kup_policy *p)
{
	while (p->nr_links)
		bpf_link__destroy(p->links[--p->nr_links]);
	while (p->nr_iters)
		bpf_link__destroy(p->iters[--p->nr_iters]);
	free(p->links);
	free(p->iters);
	bpf_object__close(p->obj);
	*p = (struct kup_policy){ 0 };
}

int kup_policy_set(struct kup_policy *p, const char *key, const char *value, struct kup_err *err)
{
	char name[80], known[200] = "", k[64], least[32], most[32];
	struct parameter v;
	uint64_t number;
	unsigned int i;
	char *end;

	snprintf(name, sizeof(name), "%s_ns", key);
	if (!(find(p, name, &v) && v.number) && !(find(p, key, &v) && v.number && !is_time(&v))) {
		for (i = 0; parameter(p, i, &v); i++)
			if (v.number)
				snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s", *known ? ", " : "",
					 key_of(&v, k, sizeof(k)));
		kup_err_set(err, -EINVAL, "policy %s has no parameter `%s`", p->name, key);
		kup_err_next(err, "it has: %s", known);
		return -EINVAL;
	}
	if (is_time(&v)) {
		if (kup_duration(value, &number)) {
			kup_err_set(err, -EINVAL, "policy %s: %s = `%s` is no time", p->name, key, value);
			kup_err_next(err, "a number and a unit: 500ms, 10s, 2m");
			return -EINVAL;
		}
		if (!strcmp(v.name, "bound_ns") && (number < MIN_BOUND_NS || number > MAX_BOUND_NS)) {
			kup_err_set(err, -ERANGE, "policy %s: a bound of %s cannot be kept", p->name, value);
			kup_err_next(err, "from %s to %s", kup_duration_text(MIN_BOUND_NS, least), kup_duration_text(MAX_BOUND_NS, most));
			return -ERANGE;
		}
	} else {
		errno = 0;
		number = strtoull(value, &end, 10);
		if (errno || *end || *value < '0' || *value > '9') {
			kup_err_set(err, -EINVAL, "policy %s: %s = `%s` is no number", p->name, key, value);
			return -EINVAL;
		}
	}
	*(uint64_t *)v.at = number;
	if (!strcmp(v.name, "bound_ns"))
		p->bound_ns = number;
	return 0;
}

struct json_object *kup_policy_describe(const struct kup_policy *p)
{
	struct json_object *o = json_object_new_object(), *all = json_object_new_object();
	struct parameter v;
	unsigned int i;
	char text[32], k[64];

	json_object_object_add(o, "name", json_object_new_string(p->name));
	json_object_object_add(o, "file", json_object_new_string(p->path));
	if (find(p, "about", &v))
		json_object_object_add(o, "about", json_object_new_string(v.at));
	for (i = 0; parameter(p, i, &v); i++)
		if (v.number)
			json_object_object_add(all, key_of(&v, k, sizeof(k)),
					       is_time(&v) ? json_object_new_string(kup_duration_text(*(uint64_t *)v.at, text)) :
							     json_object_new_uint64(*(uint64_t *)v.at));
	json_object_object_add(o, "parameters", all);
	return o;
}

/* --- running --- */

static int cannot_load(const struct kup_policy *p, int code, struct kup_err *err)
{
	char words[200], *lockdown = kup_slurp("/sys/kernel/security/lockdown", NULL);

	last_words(words, sizeof(words));
	kup_err_set(err, code, "policy %s cannot be loaded: %s", p->name, *words ? words : strerror(-code));
	if (lockdown && strstr(lockdown, "[confidentiality]"))
		kup_err_next(err, "the kernel is locked down (confidentiality), so no BPF program may read it: boot without, or with lockdown=integrity");
	else if (code == -EPERM || code == -EACCES)
		kup_err_next(err, "as root, with CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN; `kup-ppp --verbose watch` shows all of the verifier's log");
	else
		kup_err_next(err, "`kup-ppp --verbose watch --policy %s` shows all of it; `policy = %s off` in the configuration does without",
			     p->name, p->name);
	free(lockdown);
	return code;
}

static int keep(struct bpf_link ***list, size_t *nr, struct bpf_link *link)
{
	struct bpf_link **more = realloc(*list, (*nr + 1) * sizeof(*more));

	if (!more) {
		bpf_link__destroy(link);
		return -ENOMEM;
	}
	*list = more;
	more[(*nr)++] = link;
	return 0;
}

/* The timer of each CPU: a counter of its clock that overflows once a look. */
static int attach_timers(struct kup_policy *p, struct bpf_program *prog)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE,
					.size = sizeof(attr),
					.config = PERF_COUNT_SW_CPU_CLOCK,
					.sample_period = kup_policy_period(p) };
	int cpu, fd, ret, nr = libbpf_num_possible_cpus();
	struct bpf_link *link;

	for (cpu = 0; cpu < nr; cpu++) {
		fd = syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
		if (fd < 0 && errno == ENODEV)	/* offline */
			continue;
		if (fd < 0)
			return -errno;
		link = bpf_program__attach_perf_event(prog, fd);
		if (!link) {
			ret = -errno;
			close(fd);
			return ret;
		}
		ret = keep(&p->links, &p->nr_links, link);
		if (ret)
			return ret;
	}
	return nr < 0 ? nr : 0;
}

static int attach(struct kup_policy *p, struct bpf_program *prog)
{
	struct bpf_link *link;

	if (bpf_program__type(prog) == BPF_PROG_TYPE_PERF_EVENT)
		return attach_timers(p, prog);
	link = bpf_program__attach(prog);
	if (!link)
		return -errno;
	if (bpf_program__expected_attach_type(prog) == BPF_TRACE_ITER)
		return keep(&p->iters, &p->nr_iters, link);
	return keep(&p->links, &p->nr_links, link);
}

int kup_policy_start(struct kup_policy *p, bool verbose, struct kup_err *err)
{
	struct bpf_program *prog;
	char words[200];
	int ret;

	said_nothing();
	said_aloud = verbose;
	libbpf_set_print(hear);
	ret = bpf_object__load(p->obj);
	if (ret)
		return cannot_load(p, ret, err);
	bpf_object__for_each_program(prog, p->obj) {
		said_nothing();
		ret = attach(p, prog);
		if (!ret)
			continue;
		last_words(words, sizeof(words));
		kup_err_set(err, ret, "policy %s: its program `%s` cannot be attached (%s): %s", p->name, bpf_program__name(prog),
			    bpf_program__section_name(prog), *words ? words : strerror(-ret));
		kup_err_next(err, "the kernel has no such hook, or no room for it; `policy = %s off` in the configuration does without", p->name);
		return ret;
	}
	return 0;
}

int kup_policy_alarms(const struct kup_policy *p)
{
	return bpf_object__find_map_fd_by_name(p->obj, "alarms");
}

uint64_t kup_policy_period(const struct kup_policy *p)
{
	return p->bound_ns / KUP_POLICY_LOOKS;
}

int kup_policy_look(const struct kup_policy *p, struct kup_err *err)
{
	char sink[4096];
	ssize_t n;
	size_t i;
	int fd;

	for (i = 0; i < p->nr_iters; i++) {
		fd = bpf_iter_create(bpf_link__fd(p->iters[i]));
		if (fd < 0)
			return kup_err_set(err, -errno, "policy %s cannot look: %s", p->name, strerror(errno));
		while ((n = read(fd, sink, sizeof(sink))) > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
			;
		close(fd);
		if (n < 0)
			return kup_err_set(err, -EIO, "policy %s cannot look: %s", p->name, strerror(errno));
	}
	return 0;
}
