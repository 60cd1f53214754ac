// SPDX-License-Identifier: GPL-2.0
/* Lockdown and Secure Boot, each by its name. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ktap.h"
#include "lockdown.h"

static char root[64];
static struct kup_err err;

static void put(const char *dir, const char *file, const void *data, size_t len)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "mkdir -p %s%s", root, dir);
	CHECK(!system(path));
	snprintf(path, sizeof(path), "%s%s/%s", root, dir, file);
	unlink(path);
	f = data ? fopen(path, "w") : NULL;
	if (f) {
		CHECK(fwrite(data, 1, len, f) == len);
		fclose(f);
	}
}

static void lockdown(const char *text)
{
	put("/sys/kernel/security", "lockdown", text, text ? strlen(text) : 0);
}

static void secure_boot(const char *var, size_t len)
{
	put("/sys/firmware/efi/efivars", "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", var, len);
}

static int look(void)
{
	memset(&err, 0, sizeof(err));
	return kup_lockdown(root, &err);
}

static void not_locked(void)
{
	CHECK(!look());
	lockdown("[none] integrity confidentiality\n");
	CHECK(!look());
	secure_boot("\6\0\0\0\1", 5);
	CHECK(!look() && !err.what[0]);
	lockdown(NULL);
	CHECK(!look());
	secure_boot(NULL, 0);
}

static void locked(void)
{
	lockdown("none [integrity] confidentiality\n");
	CHECK(look() == -EPERM && strstr(err.what, "locked down (integrity):") && err.next[0]);
	lockdown("none integrity [confidentiality]\n");
	CHECK(look() == -EPERM && strstr(err.what, "(confidentiality)") && !strstr(err.what, "Secure Boot"));
	lockdown("none [integrity]");
	CHECK(look() == -EPERM);
	/* A mode of a later kernel is not taken for none. */
	lockdown("none integrity confidentiality [more]\n");
	CHECK(look() == -EPERM && strstr(err.what, "(more)"));
}

static void with_secure_boot(void)
{
	lockdown("none [integrity] confidentiality\n");
	secure_boot("\6\0\0\0\1", 5);
	CHECK(look() == -EPERM && strstr(err.what, "Secure Boot is on") && strstr(err.what, "(integrity)") && strstr(err.next, "Secure Boot"));
	secure_boot("\6\0\0\0\0", 5);
	CHECK(look() == -EPERM && !strstr(err.what, "Secure Boot") && !strstr(err.next, "Secure Boot"));
	secure_boot("\1", 1);
	CHECK(look() == -EPERM && !strstr(err.what, "Secure Boot"));
}

static const struct ktap_test tests[] = {
	{ "a kernel that is not locked down, with Secure Boot or without", not_locked },
	{ "the mode of lockdown is named", locked },
	{ "and so is Secure Boot, if it is on", with_secure_boot },
};

int main(void)
{
	char command[96];
	int status;

	strcpy(root, "/tmp/kup-lockdown.XXXXXX");
	if (!mkdtemp(root))
		return 1;
	status = ktap_run(tests, sizeof(tests) / sizeof(*tests));
	snprintf(command, sizeof(command), "rm -r %s", root);
	return system(command) ? 1 : status;
}
