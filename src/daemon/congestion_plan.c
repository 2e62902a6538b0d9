/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon/congestion_plan.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"

/* What to do about a refusal. */
static const char *advice(int err)
{
	if (err == -ENOENT)
		return "load its module (modprobe tcp_NAME) or choose one of "
		       "net.ipv4.tcp_available_congestion_control";
	if (err == -EPERM)
		return "add it to net.ipv4.tcp_allowed_congestion_control";
	return "see -tcp-congestion";
}

/* Says what connections get instead. */
static bool usable(const char *name, const char *instead)
{
	int err = congestion_try(name);

	if (err == 0)
		return true;
	log_warn("the kernel refuses the congestion control %s (%s), connections get %s: %s", name,
	    strerror(-err), *instead ? instead : "its preset", advice(err));
	return false;
}

void congestion_plan(const char *option, struct congestion_plan *plan)
{
	bool chooses = strcmp(option, "auto") == 0;
	const char *first = chooses ? CONGESTION_CLEAN : option;
	char preset[CONGESTION_NAME_LEN];

	*plan = (struct congestion_plan){0};
	congestion_preset(preset);
	if (!usable(first, preset))
		return;
	memcpy(plan->first, first, strlen(first) + 1);
	plan->changes = chooses && usable(CONGESTION_LOSSY, first);
}
