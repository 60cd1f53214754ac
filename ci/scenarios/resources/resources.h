/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests have in common. */
#ifndef RESOURCES_H
#define RESOURCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct test {
	const char *name;	/* the process's comm as well: up to 15 characters */
	void (*run)(void);
	const char *refused;	/* `kup-ppp check` refuses it, saying this; NULL: it goes through a switch */
	bool either;		/* refused or not, as the CRIU at hand can or cannot */
	struct test *next;
};

void test_add(struct test *t);
void list_lost(void);	/* tests that are neither carried nor can be refused on this kernel: NAME, tab, why */

#define TEST_(name_, refused_, either_)									\
	static void test_##name_(void);									\
	static struct test entry_##name_ = { #name_, test_##name_, refused_, either_, NULL };		\
	static void __attribute__((constructor)) add_##name_(void) { test_add(&entry_##name_); }		\
	_Static_assert(sizeof(#name_) <= 16, "longer than a comm");					\
	static void test_##name_(void)
#define TEST(name)			TEST_(name, NULL, false)
#define REFUSED(name, why)		TEST_(name, why, false)
#define EITHER(name, why)		TEST_(name, why, true)

/* Everything has its state: the switch may happen. Comes back in the new kernel. */
void hold(void);
/* The same for a process that has to serve somebody meanwhile: @serve is called whenever @fd is readable. */
void hold_serving(int fd, void (*serve)(int fd));

#define EXPECT(cond)	do { if (!(cond)) complain(__FILE__, __LINE__, #cond); } while (0)
#define SAME(a, b)	same(__FILE__, __LINE__, #a, (long long)(a), (long long)(b))
#define MUST(cond)	do { if (!(cond)) give_up(__FILE__, __LINE__, #cond); } while (0)	/* its preparation failed */
void complain(const char *file, int line, const char *what);
void same(const char *file, int line, const char *what, long long a, long long b);
void give_up(const char *file, int line, const char *what) __attribute__((noreturn));
extern int failures;

/*
 * A helper process, killed at the test's end. It runs @fn with its end of a socketpair; the parent has the other one as @sock.
 * It does not come back, and reports by what it sends.
 */
pid_t child(void (*fn)(int sock), int *sock);
void tell(int sock);			/* a byte, each way */
void await(int sock);
int answer(int sock);			/* an int */
void send_answer(int sock, int value);

const char *in_dir(const char *name);	/* a path of this test's own, in memory */

unsigned char pattern(size_t at);	/* of bytes in a stream */
void fill(void *buf, size_t len, size_t at);
size_t differs(const void *buf, size_t len, size_t at);	/* how many bytes */
char *slurp(const char *path, char *buf, size_t size);	/* "" if it cannot be read */
long status_of(pid_t pid, const char *field);		/* of /proc/PID/status */
int64_t now_ns(int clock);

#endif
