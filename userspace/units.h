/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Services of which processes are kept: the new system's service manager would start them anew, beside those that are restored.
 *
 * Between initramfs and service manager each gets a condition, a file, which holds as long as that file is there. And it comes after the
 * restore, so that those which come after it do so as well.
 */
#ifndef KUP_UNITS_H
#define KUP_UNITS_H

#include <stdbool.h>

struct json_object;

/**
 * kup_unit_of - the service of the system's manager that a cgroup belongs to, which may be one below the service's own
 * @cgroup: path in the hierarchy
 * @unit: out
 *
 * Return: whether there is one.
 */
bool kup_unit_of(const char *cgroup, char unit[256]);

void kup_units_hold(struct json_object *plan);
void kup_units_release(void);

#endif
