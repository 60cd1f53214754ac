/* SPDX-License-Identifier: GPL-2.0 */
/* The look at everything that comes before anything is done: machine, new kernel, processes. */
#ifndef KUP_SURVEY_H
#define KUP_SURVEY_H

#include "host.h"
#include "tree.h"

struct kup_survey {
	struct kup_host host;
	struct kup_forest forest;
	struct json_object *files;	/* to be carried, see files.h */
	struct json_object *keep;	/* as of kup_keep_look() */
	struct json_object *processes;	/* as of kup_carry_forest(); NULL if they could not be looked at */
	struct json_object *left;	/* array of those of trees that are left out, which are in none of the others */
};

/**
 * kup_survey - look; nothing is changed
 * @conf: with its targets; with leave_refused, trees of which something is refused are taken out, unless nothing would be kept then
 * @s: out, for kup_survey_free(), whatever is returned
 * @err: the first thing in the way
 *
 * Return: how many things are in the way: 0 is fine to switch. A negative errno if the targets can't be told.
 */
int kup_survey(const struct kup_conf *conf, struct kup_survey *s, struct kup_err *err);
void kup_survey_free(struct kup_survey *s);

#endif
