/* SPDX-License-Identifier: GPL-2.0 */
/* Between dirty_launch and the tests that it starts: descriptors, one byte each way. */
#ifndef DIRTY_H
#define DIRTY_H

#define DIRTY_FD_READY	3	/* test -> launcher: filled */
#define DIRTY_FD_GO	4	/* launcher -> test: the switch is over */

#endif
