// SPDX-License-Identifier: GPL-2.0
/* Who holds a pipe or a socket: found in another process, not in this one, each kind by itself. */
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "holders.h"
#include "ktap.h"

static uint64_t ino(int fd)
{
	struct stat st;

	CHECK(!fstat(fd, &st));
	return st.st_ino;
}

/* The process with number @pid is among those who hold it; how many do at all goes to @nr. */
static bool held_by(const struct kup_holders *h, char kind, uint64_t nr_ino, pid_t pid, size_t *nr)
{
	const struct kup_holder *first;
	bool found = false;
	size_t i;

	*nr = kup_holders_find(h, kind, nr_ino, &first);
	for (i = 0; i < *nr; i++)
		found |= first[i].pid == pid;
	return found;
}

static void holders(void)
{
	int p[2], s[2], alone[2];
	struct kup_holders h;
	size_t nr;
	pid_t pid;

	CHECK(!pipe(p) && !socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	CHECK(!pipe(alone));
	CHECK(!kup_holders_read(&h));
	/* both ends of a pipe are one object */
	CHECK(held_by(&h, 'p', ino(p[0]), pid, &nr) && nr == 2);
	CHECK(held_by(&h, 's', ino(s[1]), pid, &nr) && nr == 1);
	CHECK(!held_by(&h, 's', ino(p[0]), pid, &nr));
	/* only this process has it, and it does not count */
	CHECK(!held_by(&h, 'p', ino(alone[0]), getpid(), &nr) && nr == 0);
	CHECK(!held_by(&h, 'p', 0, pid, &nr) && nr == 0);
	CHECK(!held_by(&h, 'z', ~0ull, pid, &nr) && nr == 0);
	kup_holders_free(&h);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static const struct ktap_test tests[] = {
	{ "pipes and sockets of other processes", holders },
};
KTAP_MAIN(tests)
