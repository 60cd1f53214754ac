/* SPDX-License-Identifier: GPL-2.0 */
/* What went wrong, for people and for scripts alike: filled in where it is known best, printed in one place (main). */
#ifndef KUP_ERR_H
#define KUP_ERR_H

struct kup_err {
	char what[256];		/* one line that names the object, what was found and what was expected */
	char next[256];		/* what to do about it; may be empty */
};

/**
 * kup_err_set - say what went wrong
 * @err: replaced wholly, .next included; may be NULL
 * @code: a negative errno
 * @fmt: printf format; a message too long is cut
 *
 * Return: @code, so that a caller can write `return kup_err_set(err, -EINVAL, ...)`.
 */
int kup_err_set(struct kup_err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/**
 * kup_err_next - say what to do about it
 * @err: its .what stays; may be NULL
 */
void kup_err_next(struct kup_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
