/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * http_out.h: writes the heads and the chunks of HTTP/1.1 answers into a caller's buffer.
 *
 * Appending never fails half way: a piece that doesn't fit is left out whole, as is all that
 * follows, and `overflow` says so at the end; what lies in the buffer then must not be sent. A byte
 * of a field value that could end its line is written as '?', so nothing that a peer sent can forge
 * a field.
 */
#ifndef SLUICE_WIRE_HTTP_OUT_H
#define SLUICE_WIRE_HTTP_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "wire/http.h"

struct http_out {
	char *p; /* the caller's, cap bytes */
	size_t len, cap;
	bool overflow;
};

/* What stands in front of a chunk: eight hex digits and CRLF. */
#define HTTP_CHUNK_HEAD 10
/* Base64 of a SHA-1 and a NUL. */
#define HTTP_WS_ACCEPT_LEN 29

void http_out_init(struct http_out *o, char *p, size_t cap);

/* Bytes as they are: bodies, and heads kept ready. */
void http_put(struct http_out *o, const void *p, size_t len);
void http_putf(struct http_out *o, const char *fmt, ...) printf_like(2, 3);

/* The text of a status, as in "404 Not Found"; "Unknown" for one that we never send. */
const char *http_reason(int status);

/* Status line; then fields in any order; then http_put_end. */
void http_put_status(struct http_out *o, int status);
void http_put_field(struct http_out *o, const char *name, const char *value);
void http_put_fieldf(struct http_out *o, const char *name, const char *fmt, ...) printf_like(3, 4);
void http_put_field_span(struct http_out *o, const char *name, struct http_span value);
/* Date (RFC 9110 5.6.7) of milliseconds since 1970. */
void http_put_date(struct http_out *o, uint64_t wall_ms);
/* Connection: close, or keep-alive. */
void http_put_connection(struct http_out *o, bool keep_alive);
/* Content-Length, or chunks (never to HTTP/1.0: send those a body that ends with the stream). */
void http_put_length(struct http_out *o, uint64_t bytes);
void http_put_chunked(struct http_out *o);
void http_put_end(struct http_out *o);

/* A chunk made in place: begin, http_put what it holds, end with the mark that begin returned. A
 * chunk that stayed empty vanishes, as it would end the body; the body's end is
 * http_put_last_chunk. */
size_t http_chunk_begin(struct http_out *o);
void http_chunk_end(struct http_out *o, size_t mark);
void http_put_last_chunk(struct http_out *o);

/* Sec-WebSocket-Accept for the client's key (RFC 6455 4.2.2); false when the key isn't 16 bytes of
 * base64. */
bool http_ws_accept(struct http_span key, char out[HTTP_WS_ACCEPT_LEN]) must_use;

#endif
