/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mesh_config.h: the mesh as the operator wants it: its key, its links, whom to trust.
 *
 * Every copy of the key but struct mesh's own is wiped. Main only, before other threads start.
 */
#ifndef SLUICE_DAEMON_MESH_CONFIG_H
#define SLUICE_DAEMON_MESH_CONFIG_H

#include <openssl/ssl.h>

#include "daemon/options.h"
#include "relay/mesh.h"

/*
 * Reads -mesh-with, -mesh-pin and the mesh key: with -dev from the environment, otherwise from
 * -mesh-psk-file or where that is by default. *mesh is NULL when there is neither key nor link.
 * 0, or -1 with a line for the operator in err, in which the key never is.
 */
int mesh_config_new(
    const struct options *o, int workers, struct mesh **mesh, char *err, size_t errlen) must_use;
/* Wipes and frees it; NULL is fine. */
void mesh_config_free(struct mesh *m);
/* For dialling the links: the system's certificates, those of -mesh-ca, and this server's own
 * (NULL: none), as it may be in its own list. NULL with err. */
SSL_CTX *mesh_client_ctx(
    const struct options *o, const SSL_CTX *own, char *err, size_t errlen) must_use;
/* One line about the key and whom the mesh is with. */
void mesh_announce(const struct mesh *m);

/* Checks -mesh-with and -mesh-pin, which must go together. 0, or -1 with err. */
int mesh_check_lists(const struct options *o, char *err, size_t errlen) must_use;
/* Says what is wrong with a list of -mesh-with; NULL when nothing is. */
const char *mesh_check_with(const char *text);

#endif
