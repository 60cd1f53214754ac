/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One allocation of a call fails: the first, then the second, ... until the call has no more. For kernels with FAILSLAB and
 * FAIL_PAGE_ALLOC, as the debug kernels are; see Documentation/fault-injection of the kernel.
 */
#ifndef KUP_FAIL_NTH_H
#define KUP_FAIL_NTH_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <unistd.h>

#define FAULTS_DIR	"/sys/kernel/debug/"
#define SYSLOG_LEVEL	8

static bool fail_nth_put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

/* Allocations that may wait, and single pages, are to fail, too. False: this kernel has none of it. */
static inline bool fail_nth_begin(void)
{
	if (access("/proc/thread-self/fail-nth", F_OK))
		return false;
	mount("debugfs", FAULTS_DIR, "debugfs", 0, NULL);
	if (!fail_nth_put(FAULTS_DIR "failslab/ignore-gfp-wait", "N") || !fail_nth_put(FAULTS_DIR "failslab/verbose", "0") ||
	    !fail_nth_put(FAULTS_DIR "fail_page_alloc/ignore-gfp-wait", "N") || !fail_nth_put(FAULTS_DIR "fail_page_alloc/ignore-gfp-highmem", "N") ||
	    !fail_nth_put(FAULTS_DIR "fail_page_alloc/min-order", "0") || !fail_nth_put(FAULTS_DIR "fail_page_alloc/verbose", "0")) {
		printf("Bail out! no fault injection: %s\n", strerror(errno));
		exit(1);
	}
	klogctl(SYSLOG_LEVEL, NULL, 4);	/* the kernel warns, with a trace, that there is no memory */
	return true;
}

/* What the console did not show: has the kernel warned of anything else, or lockdep given up? */
static inline bool fail_nth_end(void)
{
	char line[256];
	unsigned long taint = ~0UL;
	int locks = -1;
	FILE *f = fopen("/proc/sys/kernel/tainted", "r");

	klogctl(SYSLOG_LEVEL, NULL, 7);
	if (f && fscanf(f, "%lu", &taint) != 1)
		taint = ~0UL;
	if (f)
		fclose(f);
	f = fopen("/proc/lockdep_stats", "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, " debug_locks: %d", &locks);
	if (f)
		fclose(f);
	if (taint & 0x2a0 || locks != 1)
		printf("# taint %#lx, debug_locks %d\n", taint, locks);
	return !(taint & 0x2a0) && locks == 1;
}

static int fail_nth_file(void)
{
	static pid_t owner;
	static int fd = -1;

	if (owner != getpid()) {	/* the file is of the thread that opened it */
		fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
		owner = getpid();
	}
	return fd;
}

/* From now on the @n-th allocation of this thread fails. */
static inline void fail_nth(unsigned int n)
{
	dprintf(fail_nth_file(), "%u", n);
}

/* No more. Return: whether one did. */
static inline bool fail_nth_did(void)
{
	char text[16] = "";
	ssize_t len = pread(fail_nth_file(), text, sizeof(text) - 1, 0);

	dprintf(fail_nth_file(), "0");
	return len > 0 && !atoi(text);
}

#endif
