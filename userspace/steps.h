/* SPDX-License-Identifier: GPL-2.0 */
/* The timeline of a switch, in TSC cycles: the one clock that goes on across the jump. */
#ifndef KUP_STEPS_H
#define KUP_STEPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object;

struct kup_steps {
	bool show;			/* say on stdout what begins */
	struct {
		char name[24];
		uint64_t begin;
		uint64_t end;		/* 0: not over */
	} step[32];
	size_t nr;
};

void kup_step_begin(struct kup_steps *s, const char *name);	/* ends the one before */
void kup_step_end(struct kup_steps *s);				/* the last one, if it isn't over */
void kup_step_add(struct kup_steps *s, const char *name, uint64_t begin, uint64_t end);
const char *kup_step_name(const struct kup_steps *s);		/* of the last one */

struct json_object *kup_steps_to_json(const struct kup_steps *s);
void kup_steps_from_json(struct json_object *array, struct kup_steps *s);	/* appends; skips what is malformed */

#endif
