/* SPDX-License-Identifier: GPL-2.0 */
/* The timeline of a switch, in TSC cycles: the one clock that goes on across the jump. */
#ifndef KUP_STEPS_H
#define KUP_STEPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

struct json_object;

/* A step of a switch, in their order. */
struct kup_step_info {
	const char *name;
	const char *verb;	/* of kup-ppp, that takes it */
	const char *what;
	bool has_criu;		/* CRIU is at work meanwhile */
};

extern const struct kup_step_info kup_step_list[];
extern const size_t kup_nr_steps;

struct kup_steps {
	bool show;			/* say on stdout what begins */
	struct {
		char name[24];
		uint64_t begin;
		uint64_t end;		/* 0: not over */
	} step[32];
	size_t nr;
};

/**
 * kup_step_begin - the last step is over, if it isn't yet, and the next one begins
 * @name: one of kup_step_list
 * @err: what a fault that strikes here says (fault.h); NULL: none strikes
 *
 * Return: 0, or the errno of the fault.
 */
int kup_step_begin(struct kup_steps *s, const char *name, struct kup_err *err);

/* The last step is over, if it isn't yet. Return: as above. */
int kup_step_end(struct kup_steps *s, struct kup_err *err);
void kup_step_add(struct kup_steps *s, const char *name, uint64_t begin, uint64_t end);
const char *kup_step_name(const struct kup_steps *s);		/* of the last one */

struct json_object *kup_steps_to_json(const struct kup_steps *s);
void kup_steps_from_json(struct json_object *array, struct kup_steps *s);	/* appends; skips what is malformed */

#endif
