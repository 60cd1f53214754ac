/* SPDX-License-Identifier: GPL-2.0 */
/* Fields of JSON objects. */
#ifndef KUP_JSON_H
#define KUP_JSON_H

struct json_object;

const char *kup_json_text(struct json_object *o, const char *key);	/* "" if it isn't there */
long long kup_json_int(struct json_object *o, const char *key);		/* 0 if it isn't there */
double kup_json_double(struct json_object *o, const char *key);		/* 0 if it isn't there */

#endif
