/* SPDX-License-Identifier: GPL-2.0 */
/* What the kernel knows of a thread, what CRIU does not carry, and what can be set from outside: affinity, I/O priority, timer slack, core filter. */
#ifndef KUP_SETTINGS_H
#define KUP_SETTINGS_H

#include <sys/types.h>

struct json_object;

/* Adds to @o what differs from init's: "cpus" (hexadecimal as in /proc; "" if it may run anywhere), "ioprio", "timerslack", "coredump". */
void kup_settings_read(pid_t tid, struct json_object *o);

/* The thread exists; what this kernel does not take stays as it is. */
void kup_settings_apply(pid_t tid, struct json_object *o);

#endif
