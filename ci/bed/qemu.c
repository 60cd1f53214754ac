// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bed.h"

#define QEMU "/usr/bin/qemu-system-x86_64"

static char *text(const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		bed_fail("no memory");
	va_end(ap);
	return s;
}

/* One that no other bed's guest has: a lock on its folder says so until this process ends. Any, if there are more guests than CPUs. */
static int free_cpu(const cpu_set_t *allowed)
{
	int nth = getpid() % CPU_COUNT(allowed), any = -1, fd;

	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, allowed))
			continue;
		fd = open(text("/sys/devices/system/cpu/cpu%d", cpu), O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB))
			return cpu;
		if (fd >= 0)
			close(fd);
		if (!nth--)
			any = cpu;
	}
	return any;
}

/*
 * With thread=single TCG takes the guest for alone: it translates mfence to nothing and a locked instruction to one without a lock. But QEMU's
 * main thread, which is the guest's devices, runs beside it and shares the rings of virtio. Of two who each store and then look whether the
 * other has stored, both may see nothing then: a notification is lost, with it all later ones of that ring, and the network stands still.
 * On one CPU of the host each sees the other's stores in order.
 */
static pid_t spawn_on_one_cpu(char *const argv[], int in, int out, int err)
{
	cpu_set_t all, one;
	pid_t pid;

	CPU_ZERO(&one);
	if (sched_getaffinity(0, sizeof(all), &all))
		bed_fail("CPUs: %s", strerror(errno));
	CPU_SET(free_cpu(&all), &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		bed_fail("CPUs: %s", strerror(errno));
	pid = spawn(argv, in, out, err);
	sched_setaffinity(0, sizeof(all), &all);
	return pid;
}

void qemu_start(int tap)
{
	int console[2], control[2], err;
	const char *first = bed.o.kernel[0];
	/*
	 * A kernel that measures it itself, on a busy host, is wrong by any factor now and then, and one that tries its timer may see too few
	 * ticks of it and stop. With --icount it never is.
	 */
	const char *time = bed.o.icount ? "" : text(" tsc_early_khz=%u no_timer_check", tsc_khz());

	/* The console's pipe is opened by QEMU itself, by its path under /proc. The control line is QEMU's stdin and stdout. */
	if (pipe2(console, O_CLOEXEC) || socketpair(AF_UNIX, SOCK_STREAM, 0, control))
		bed_fail("pipes: %s", strerror(errno));
	fcntl(console[1], F_SETFD, 0);
	fcntl(control[0], F_SETFD, FD_CLOEXEC);
	err = open(text("%s/qemu.log", bed.o.run), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	char *argv[64] = {
		QEMU, "-accel", "tcg,thread=single", "-cpu", (char *)bed.o.cpu, "-smp", text("%u,sockets=%u", bed.o.cpus, bed.o.nodes),
		"-m", text("%uM", bed.o.mem), "-nodefaults", "-no-user-config", "-display", "none",
		"-chardev", text("file,id=console,path=/dev/fd/%d", console[1]), "-serial", "chardev:console",
		"-chardev", "stdio,id=control,signal=off", "-serial", "chardev:control",
		"-netdev", text("tap,id=net,fd=%d", tap), "-device", "virtio-net-pci,netdev=net,romfile=,mac=52:54:00:00:00:02",
		"-kernel", text("%s/%s/vmlinuz", bed.o.images, first), "-initrd", text("%s/%s/initrd", bed.o.images, first),
		"-append", text("console=ttyS0%s%s %s", time, bed.o.disk ? " root=/dev/vda ro" : "", bed.o.append ?: ""),
	};
	bool resets = false;
	int n = 0;

	while (argv[n])
		n++;
	for (int i = 0; i < bed.o.nr_fault; i++)
		resets |= fault_is_power(bed.o.fault[i]);
	if (!resets)
		argv[n++] = "-no-reboot";
	if (bed.o.disk) {
		argv[n++] = "-drive";
		argv[n++] = text("file=%s,format=raw,if=virtio,readonly=on", bed.o.disk);
	}
	if (bed.o.scratch) {
		argv[n++] = "-drive";
		argv[n++] = text("file=%s,format=raw,if=virtio,cache=unsafe", bed.o.scratch);
	}
	if (bed.o.icount) {
		argv[n++] = "-icount";
		argv[n++] = "shift=0";
	}
	/* As many sockets, with the same share of memory and CPUs each. */
	for (unsigned int i = 0; bed.o.nodes > 1 && i < bed.o.nodes; i++) {
		argv[n++] = "-object";
		argv[n++] = text("memory-backend-ram,id=node%u,size=%uM", i, bed.o.mem / bed.o.nodes);
		argv[n++] = "-numa";
		argv[n++] = text("node,nodeid=%u,memdev=node%u,cpus=%u-%u", i, i, bed.o.cpus * i / bed.o.nodes,
				 bed.o.cpus * (i + 1) / bed.o.nodes - 1);
	}

	bed.qemu = spawn_on_one_cpu(argv, control[1], control[1], err);
	close(control[1]);
	close(console[1]);
	close(err);
	close(tap);
	bed.console = (struct lines){ .fd = console[0], .line = console_line };
	bed.control = (struct lines){ .fd = control[0], .line = control_line };
}

void qemu_check(void)
{
	int st;

	usleep(200000);
	if (waitpid(bed.qemu, &st, WNOHANG) != bed.qemu)
		return;
	bed.qemu = 0;
	if (WIFEXITED(st) && !WEXITSTATUS(st))
		bed_fail("the guest powered off or reset itself");
	bed_fail("QEMU ended with status %#x: see %s/qemu.log", st, bed.o.run);
}
