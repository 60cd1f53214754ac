/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the guest's init and the bed outside agree on.
 *
 * The second serial port carries lines; text in them is escaped as %XX, so that a line is one event and a line cut short
 * by a kexec does no harm to the next.
 *
 *   to the guest    run ID COMMAND			COMMAND for /bin/sh -c, one at a time
 *   to the outside  ready RELEASE INIT_TSC NOW_TSC RESTORE	a kernel has arrived; RESTORE: -1 none, else exit status
 *                   out ID TEXT			output of a command (ID 0: of init's own steps)
 *                   exit ID STATUS NOW_TSC	its end; 128 + signal if killed
 */
#ifndef KUP_GUEST_H
#define KUP_GUEST_H

#define GUEST_IP	"10.77.0.2"
#define HOST_IP		"10.77.0.1"
#define NETMASK		"255.255.255.0"
#define HTTP_PORT	"80"
#define CONTROL_TTY	"/dev/ttyS1"
#define LINE_LEN	8192

#endif
