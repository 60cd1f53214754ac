/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests of sockets and their client outside agree on: in each stream the bytes of a pattern from a place on. */
#ifndef CLIENT_H
#define CLIENT_H

#define PORT_LISTENING		7000
#define PORT_ESTABLISHED	7001
#define PORT_CLOSE_WAIT		7002
#define PORT_FIN_WAIT		7003
#define PORT_UDP		7010

#define CLIENT_BYTES		30000	/* sent before the switch, read after it; from place 77 on */
#define MORE_BYTES		20000	/* sent after the switch, each way */

#endif
