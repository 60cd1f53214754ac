/* SPDX-License-Identifier: GPL-2.0 */
#ifndef KUP_TIMERS_H
#define KUP_TIMERS_H

#include <sys/types.h>

/**
 * kup_timers_rearm - let the periodic timerfds of a restored process go on
 * @pid: stopped, and CRIU is done with its timers
 *
 * A periodic timer that has expired and was not read yet stands still until it is read; the kernel shows no next expiry then. CRIU
 * restores just that: a timer with ticks to read, which never expires again (seen with 3.17.1).
 */
void kup_timers_rearm(pid_t pid);

#endif
