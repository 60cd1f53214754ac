/* SPDX-License-Identifier: GPL-2.0 */
/* What is said between us and one CRIU (`criu swrk`), over a socket of SOCK_SEQPACKET: criu_rpc.proto. */
#ifndef KUP_CRIU_RPC_H
#define KUP_CRIU_RPC_H

#include <stdbool.h>
#include <stddef.h>

#include "criu.h"

/**
 * kup_rpc_ask - what it is to do
 * @images: directory of the images, open here until it has ended
 * @logs: the same, of its log
 * @log: name in there
 *
 * Return: 0 or a negative errno.
 */
int kup_rpc_ask(int sock, const struct kup_criu_run *run, const struct kup_criu_job *job, int images, int logs, const char *log);

/**
 * kup_rpc_hear - the next notice
 * @script: out; what it is about
 *
 * Return: 1; 0: there is no more of them, whether it succeeded is in its exit status.
 */
int kup_rpc_hear(int sock, char *script, size_t size);

/**
 * kup_rpc_answer - to a notice
 * @go_on: else it puts back what it has done
 *
 * If it has ended meanwhile nothing is said; its exit status says it.
 */
void kup_rpc_answer(int sock, bool go_on);

#endif
