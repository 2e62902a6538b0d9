/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/mesh.h"

#include <stdio.h>
#include <string.h>

const char *const mesh_state_text[MESH_STATE_COUNT] = {
#define X(id, text) [id] = text,
    MESH_STATES(X)
#undef X
};

void mesh_target(const char *host, uint16_t port, uint16_t usual, char out[MESH_TARGET_LEN])
{
	bool v6 = strchr(host, ':') != NULL;
	int n = snprintf(out, MESH_TARGET_LEN, v6 ? "[%.*s]" : "%.*s", ADDR_HOST_LEN - 1, host);

	if (port != usual)
		snprintf(out + n, MESH_TARGET_LEN - (size_t)n, ":%u", port);
}
