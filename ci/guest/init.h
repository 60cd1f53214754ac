/* SPDX-License-Identifier: GPL-2.0 */
#ifndef KUP_INIT_H
#define KUP_INIT_H

#include <stdbool.h>
#include <stdint.h>

static inline uint64_t tsc(void)
{
	return __builtin_ia32_rdtsc();
}

/* setup.c: each logs to the console and goes on, since a guest that half works tells more than one that stops. */
void mount_all(void);
void load_modules(const char *list);
void network_up(void);
bool cmdline_has(const char *word);
const char *cmdline_value(const char *key);	/* of the last such word, behind @key, until the next call; NULL: there is none */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* agent.c */
void agent_open(void);
int agent_run(unsigned int id, const char *command);	/* returns the exit status; output goes out as it comes */
void agent_ready(uint64_t init_tsc, int restore);
void agent_serve(void) __attribute__((noreturn));

#endif
