/* SPDX-License-Identifier: GPL-2.0 */
/* Failure policies: files NAME.bpf.o in a directory. The contract with them is <kup/policy.h>. */
#ifndef KUP_POLICY_FILE_H
#define KUP_POLICY_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

#define KUP_POLICY_DIR "/usr/lib/kup-ppp/policies"

struct bpf_link;
struct bpf_object;
struct json_object;

struct kup_policy {
	char name[64];
	char path[512];
	struct bpf_object *obj;
	uint64_t bound_ns;
	struct bpf_link **links;
	size_t nr_links;
	struct bpf_link **iters;	/* to be walked at each look */
	size_t nr_iters;
};

/**
 * kup_policy_names - which policies a directory has
 * @names: out, sorted; each one and the array for free()
 *
 * Return: how many, or a negative errno.
 */
int kup_policy_names(const char *dir, char ***names, struct kup_err *err);

/**
 * kup_policy_open - read a policy's file and hold it against the contract; nothing is loaded
 *
 * Return: 0, and @p is for kup_policy_close(); -ENOENT if there is no such policy; another negative errno.
 */
int kup_policy_open(const char *dir, const char *name, struct kup_policy *p, struct kup_err *err);
void kup_policy_close(struct kup_policy *p);

/**
 * kup_policy_set - set a parameter, before the policy is started
 * @key: name of a variable of the policy; `bound` for bound_ns, as for all that end so
 * @value: a number, or a time as kup_duration() reads it
 */
int kup_policy_set(struct kup_policy *p, const char *key, const char *value, struct kup_err *err);

/**
 * kup_policy_describe - for people and scripts
 *
 * Return: { name, file, about, parameters: { KEY: "10s" | NUMBER } }, with the values that are set now.
 */
struct json_object *kup_policy_describe(const struct kup_policy *p);

/**
 * kup_policy_start - load and attach
 * @verbose: all that libbpf and the verifier say, on stderr
 *
 * Return: 0, or a negative errno with the verifier's last words in @err.
 */
int kup_policy_start(struct kup_policy *p, bool verbose, struct kup_err *err);

int kup_policy_alarms(const struct kup_policy *p);	/* descriptor of the ring buffer, after the start */
uint64_t kup_policy_period(const struct kup_policy *p);	/* ns between looks */

/**
 * kup_policy_look - walk the policy's iterators; whoever started it calls this each kup_policy_period()
 */
int kup_policy_look(const struct kup_policy *p, struct kup_err *err);

/**
 * kup_policy_cause - what a message is to say of all that libbpf and the verifier did
 * @log: their words
 */
void kup_policy_cause(const char *log, char *out, size_t size);

/**
 * kup_duration - "500ms", "10s", "2m", "1h" in ns
 *
 * Return: 0 or -EINVAL; a number without a unit is none.
 */
int kup_duration(const char *text, uint64_t *ns);

/* The other way round; @text has room for 32. */
const char *kup_duration_text(uint64_t ns, char *text);

#endif
