// SPDX-License-Identifier: GPL-2.0
/*
 * The scenario's outside client: DIR/client, if there is one. It reads the name of a phase a line from its stdin and
 * answers each with one line of JSON that has "phase" and "ok"; lines with "progress" (0..1) may come before.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bed.h"

static pid_t pid;

void client_start(void)
{
	char *path, *argv[] = { NULL, NULL };
	int in[2], out[2];

	if (asprintf(&path, "%s/client", bed.o.scenario) < 0 || access(path, X_OK))
		return;
	argv[0] = path;
	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		bed_fail("pipes: %s", strerror(errno));
	setenv("KUP_GUEST", GUEST_IP, 1);
	pid = spawn(argv, in[0], out[1], 2);
	close(in[0]);
	close(out[1]);
	bed.to_client = in[1];
	bed.client = (struct lines){ .fd = out[0], .line = client_line };
	free(path);
}

void client_stop(void)
{
	if (!bed.client.line)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(bed.to_client);
	close(bed.client.fd);
	bed.client.line = NULL;
}

void client_pause(void)
{
	if (bed.client.line)
		kill(pid, SIGSTOP);
}

void client_line(char *line)
{
	struct json_object *o = json_tokener_parse(line), *v;

	if (!o)
		bed_fail("the client said something other than JSON: %s", line);
	if (json_object_object_get_ex(o, "progress", &v)) {
		if (!bed.o.quiet && isatty(2))
			fprintf(stderr, "\r%60s\r  %3.0f %%", "", 100 * json_object_get_double(v));
		json_object_put(o);
		return;
	}
	json_object_put(bed.answer);
	bed.answer = o;
}

static bool answered(void)
{
	return bed.answer;
}

struct json_object *client_do(const char *phase, unsigned int seconds)
{
	struct json_object *ok;

	if (!bed.client.line)
		return NULL;
	json_object_put(bed.answer);
	bed.answer = NULL;
	if (dprintf(bed.to_client, "%s\n", phase) < 0)
		bed_fail("client: %s", strerror(errno));
	if (!bed_wait(answered, seconds))
		bed_fail("the client did not finish '%s' within %u s", phase, seconds);
	if (!bed.o.quiet && isatty(2))
		fprintf(stderr, "\r%60s\r", "");
	if (!json_object_object_get_ex(bed.answer, "ok", &ok) || !json_object_get_boolean(ok))
		bed_fail("client, %s: %s", phase, json_object_to_json_string(bed.answer));
	return bed.answer;
}
