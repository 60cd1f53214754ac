/* SPDX-License-Identifier: GPL-2.0 */
/* What a switch took, put together on the new side from both sides' steps and counters. */
#ifndef KUP_REPORT_H
#define KUP_REPORT_H

#include <stdint.h>

#include "device.h"
#include "steps.h"

struct json_object;

#define KUP_REPORT_FILE "/run/kup-ppp/report.json"

/**
 * kup_report_new - the report
 * @plan: of the old side, checked
 * @adopted: what ADOPT said
 * @steps: of the new side
 * @resume_tsc: when the applications were let go
 *
 * Return: { from, to, blackout_ms, prepare_ms, image_bytes, preserved_pages, ..., steps: [{ step, at_ms, ms }] }, where at_ms counts
 * from the freeze. For json_object_put().
 */
struct json_object *kup_report_new(struct json_object *plan, const struct kup_adopt *adopted, const struct kup_steps *steps,
				   uint64_t resume_tsc);

/**
 * kup_report_drain - enter what the module knows by now of binding
 *
 * Return: whether all is bound.
 */
int kup_report_drain(struct json_object *report, const struct kup_status *st);

/**
 * kup_report_fallback - if this boot was one, the switch ended here and not where the plan says
 */
void kup_report_fallback(struct json_object *report, const struct kup_status *st);

void kup_report_print(struct json_object *report);

#endif
