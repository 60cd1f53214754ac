// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "criu_rpc.h"
#include "criu_rpc.pb-c.h"

#define SET(opts, field, value) ((opts).has_##field = true, (opts).field = (value))

static int say(int sock, const CriuReq *req)
{
	uint8_t packet[8192];
	size_t size = criu_req__get_packed_size(req);

	if (size > sizeof(packet))
		return -EMSGSIZE;
	criu_req__pack(req, packet);
	return send(sock, packet, size, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int kup_rpc_ask(int sock, const struct kup_criu_run *run, const struct kup_criu_job *job, int images, int logs, const char *log)
{
	CriuOpts opts = CRIU_OPTS__INIT;
	CriuReq req = CRIU_REQ__INIT;

	opts.images_dir_fd = images;
	SET(opts, work_dir_fd, logs);
	opts.log_file = (char *)log;
	SET(opts, log_level, run->verbose ? 4 : 1);
	SET(opts, notify_scripts, true);
	SET(opts, tcp_established, true);
	SET(opts, manage_cgroups_mode, CRIU_CG_MODE__IGNORE);
	SET(opts, shell_job, job->shell_job);
	SET(opts, file_locks, job->file_locks);
	SET(opts, ext_unix_sk, job->ext_unix);
	req.type = CRIU_REQ_TYPE__RESTORE;
	if (run->mode == KUP_CRIU_DUMP) {
		req.type = CRIU_REQ_TYPE__DUMP;
		SET(opts, pid, job->root);
		SET(opts, leave_running, true);
		opts.freeze_cgroup = (char *)job->freeze_dir;
		SET(opts, network_lock, run->criu->version < KUP_CRIU_SKIPS_LOCK ? CRIU_NETWORK_LOCK_METHOD__NFTABLES :
										   CRIU_NETWORK_LOCK_METHOD__SKIP);
	}
	req.opts = &opts;
	return say(sock, &req);
}

int kup_rpc_hear(int sock, char *script, size_t size)
{
	uint8_t packet[8192];
	ssize_t len = recv(sock, packet, sizeof(packet), 0);
	CriuResp *resp = len > 0 ? criu_resp__unpack(NULL, len, packet) : NULL;
	bool notice = resp && resp->type == CRIU_REQ_TYPE__NOTIFY && resp->notify && resp->notify->script;

	if (notice)
		snprintf(script, size, "%s", resp->notify->script);
	if (resp)
		criu_resp__free_unpacked(resp, NULL);
	return notice;
}

void kup_rpc_answer(int sock, bool go_on)
{
	CriuReq req = CRIU_REQ__INIT;

	req.type = CRIU_REQ_TYPE__NOTIFY;
	SET(req, notify_success, go_on);
	say(sock, &req);
}
