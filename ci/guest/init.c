// SPDX-License-Identifier: GPL-2.0
/*
 * Init of a diskless guest.
 *
 * First kernel: mounts, modules, network, then commands from the control line.
 * A kernel that was switched to (kup_ppp.area= on its command line): the module adopts the handover before there is a
 * network, so that no segment reaches this kernel while the sockets are not back; then the scenario's `adopted`, if it has one,
 * network, restore, commands.
 *
 * A guest with a disk has an init of its own, whose service this is: see disk.sh. Then it tells when the boot is over, how the restore
 * service fared, and serves commands.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

static void service(uint64_t begin)
{
	int restore = -1;

	agent_open();
	agent_run(0, "systemctl is-system-running --wait; systemctl --failed --no-legend --plain");
	if (cmdline_has("kup_ppp.area="))
		restore = agent_run(0, "journalctl -b -o cat --no-pager -u kup-ppp-restore; systemctl is-active kup-ppp-restore");
	agent_ready(begin, restore);
	agent_serve();
}

int main(void)
{
	uint64_t begin = tsc();
	int restore = -1;

	umask(022);
	if (getpid() != 1)
		service(begin);
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	mount_all();
	chdir("/root");
	for (int fd = open("/dev/console", O_RDWR); fd >= 0 && fd < 2; fd = dup(fd))
		;
	agent_open();
	load_modules("/etc/kup-bed/modules");
	if (cmdline_has("kup_ppp.area=")) {
		const char *hook = cmdline_value("kup_bed.hook=");
		char text[128];

		/* For the report: the restore below cannot know when this kernel came to its init. */
		snprintf(text, sizeof(text), "%llu", (unsigned long long)begin);
		setenv("KUP_INIT_TSC", text, 1);
		snprintf(text, sizeof(text), "insmod kup_ppp.ko%s%s", hook ? " hook=" : "", hook ?: "");
		restore = agent_run(0, text);
		if (!restore && !access("/scenario/adopt", X_OK))
			restore = agent_run(0, "/scenario/adopt");
		/* Once more, before the network is there: without the memory, this kernel would reset the clients' connections. */
		if (!restore)
			restore = agent_run(0, "kup-ppp restore --adopt || KUP_FAULT= kup-ppp restore --adopt");
		if (!access("/scenario/adopted", X_OK))
			agent_run(0, "cd /scenario; ./adopted");
		/* Without the module nothing keeps this kernel from resetting those connections. */
		if (!access("/dev/kup_ppp", F_OK))
			network_up();
		if (!restore)
			restore = agent_run(0, cmdline_has("kup_bed.hold_drain") ? "kup-ppp restore --hold-drain" :
										   "kup-ppp restore");
	} else {
		network_up();
	}
	load_modules("/etc/kup-bed/modules-late");
	agent_ready(begin, restore);
	agent_serve();
}
