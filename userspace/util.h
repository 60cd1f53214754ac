/* SPDX-License-Identifier: GPL-2.0 */
/* Files, children and time. */
#ifndef KUP_UTIL_H
#define KUP_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include "err.h"

#define KUP_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/**
 * kup_slurp - the content of a file, also of one in /proc
 * @path: file
 * @len: out, may be NULL
 *
 * Return: a NUL-terminated buffer to free(), or NULL and errno.
 */
char *kup_slurp(const char *path, size_t *len);

/**
 * kup_slurpf - the same, the path as a format
 */
char *kup_slurpf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/**
 * kup_put - write a text in one write(2), as files in /proc, /sys and cgroups want it
 *
 * Return: 0 or a negative errno.
 */
int kup_put(const char *path, const char *text);

/**
 * kup_write_all - write @len bytes, however many calls it takes
 *
 * Return: 0 or a negative errno.
 */
int kup_write_all(int fd, const void *data, size_t len);

/**
 * kup_read_all - read exactly @len bytes
 *
 * Return: 0, -ENODATA if the file ends before, or a negative errno.
 */
int kup_read_all(int fd, void *data, size_t len);

/**
 * kup_replace_file - write a file so that a reader finds the old or the new content, never a part
 *
 * Return: 0 or a negative errno.
 */
int kup_replace_file(const char *path, const char *text);

int kup_mkdirs(const char *path, mode_t mode);		/* mkdir -p; 0 or a negative errno */
void kup_remove_tree(const char *path);			/* rm -rf on one file system */
char *kup_trim(char *s);				/* without space at both ends, in place */

/**
 * kup_run - run a program to its end
 * @argv: argv[0] is looked up in PATH
 * @out: what it wrote to stdout and stderr, cut to @size, NUL-terminated; may be NULL
 *
 * Return: its exit status, 128 + signal, or a negative errno if it could not be started.
 */
int kup_run(char *const argv[], char *out, size_t size);

/**
 * kup_run_within - the same, but not for longer than @ms
 *
 * It has a process group of its own, which is killed when the time is over.
 *
 * Return: as above, or -ETIMEDOUT.
 */
int kup_run_within(char *const argv[], int ms, char *out, size_t size);

/**
 * kup_last_line - the last line of @text that is not blank, for messages; in place
 */
char *kup_last_line(char *text);

static inline bool kup_starts(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

bool kup_in_path(const char *program);

/**
 * kup_lock - one kup-ppp at a time changes things
 *
 * Return: 0 and the lock is held until the process ends, or -EBUSY.
 */
int kup_lock(struct kup_err *err);

long long kup_now_ms(void);	/* CLOCK_MONOTONIC */

static inline uint64_t kup_tsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) :: "memory");
	return (uint64_t)hi << 32 | lo;
}

/**
 * kup_tsc_khz - rate of the TSC, measured against the kernel's clock since the program started
 */
uint64_t kup_tsc_khz(void);
void kup_tsc_start(void);

#endif
