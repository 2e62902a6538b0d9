/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/letters.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/tls.h"
#include "wire/websocket.h"

void relay_letter_free(const struct letter *l)
{
	struct admit *a;

	switch ((enum letter_kind)l->kind) {
	case LETTER_ADMIT:
		a = *(struct admit *const *)(const void *)l->body;
		tls_free(a->tls);
		ws_free(a->ws);
		close(a->fd);
		free(a);
		break;
	case LETTER_FLOWS:
	case LETTER_CLIENTS:
		free(*(void *const *)(const void *)l->body);
		break;
	case LETTER_CTX:
		SSL_CTX_free(*(SSL_CTX *const *)(const void *)l->body);
		break;
	case LETTER_RUN:
	case LETTER_FORWARD:
	case LETTER_WATCH_GONE:
	case LETTER_GONE:
	case LETTER_NOT_HERE:
	case LETTER_REPORTS:
	case LETTER_LINK:
	case LETTER_PRESENT:
	case LETTER_WATCH:
	case LETTER_UNWATCH:
	case LETTER_PRESENCE:
	case LETTER_WATCH_ACK:
	case LETTER_CLOSE_PEER:
	case LETTER_ASK_FLOWS:
	case LETTER_ASK_CLIENTS:
	case LETTER_LOG:
	case LETTER_LINK_ENDED:
		break;
	}
}

void letters_log(void *post, const char *line, size_t len)
{
	struct letters_post *p = post;

	/* When main is behind it is lost. */
	(void)!mail_post(
	    p->mail, p->self, mail_main(p->mail), LETTER_LOG, line, (uint32_t)len, false);
}

void letters_bell(struct watch *watch, uint32_t events)
{
	/* It is watched for edges: each ring is one event, and its count is of no interest. */
}
