/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/http_out.h"

#include <openssl/evp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define WS_KEY_BYTES 16
#define WS_KEY_TEXT 24
#define WS_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455 1.3 */
#define SHA1_BYTES 20

void http_out_init(struct http_out *o, char *p, size_t cap)
{
	*o = (struct http_out){.p = p, .cap = cap};
}

/* Room for len bytes, already counted; NULL when they don't fit. */
static char *grow(struct http_out *o, size_t len)
{
	if (o->overflow || len > o->cap - o->len) {
		o->overflow = true;
		return NULL;
	}
	o->len += len;
	return o->p + o->len - len;
}

void http_put(struct http_out *o, const void *p, size_t len)
{
	char *to = grow(o, len);

	if (to && len)
		memcpy(to, p, len);
}

static void put_text(struct http_out *o, const char *text)
{
	http_put(o, text, strlen(text));
}

printf_like(2, 0) static void put_formatted(struct http_out *o, const char *fmt, va_list ap)
{
	size_t room = o->cap - o->len;
	int n;

	if (o->overflow)
		return;
	/* vsnprintf wants room for a NUL, which the next piece overwrites. */
	n = vsnprintf(o->p + o->len, room, fmt, ap);
	CHECK(n >= 0);
	if ((size_t)n >= room)
		o->overflow = true;
	else
		o->len += (size_t)n;
}

void http_putf(struct http_out *o, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put_formatted(o, fmt, ap);
	va_end(ap);
}

const char *http_reason(int status)
{
	switch (status) {
#define X(code, text) \
	case code:    \
		return text;
		X(100, "Continue")
		X(101, "Switching Protocols")
		X(200, "OK")
		X(204, "No Content")
		X(206, "Partial Content")
		X(301, "Moved Permanently")
		X(302, "Found")
		X(303, "See Other")
		X(304, "Not Modified")
		X(307, "Temporary Redirect")
		X(308, "Permanent Redirect")
		X(400, "Bad Request")
		X(401, "Unauthorized")
		X(403, "Forbidden")
		X(404, "Not Found")
		X(405, "Method Not Allowed")
		X(406, "Not Acceptable")
		X(408, "Request Timeout")
		X(413, "Content Too Large")
		X(414, "URI Too Long")
		X(421, "Misdirected Request")
		X(426, "Upgrade Required")
		X(429, "Too Many Requests")
		X(431, "Request Header Fields Too Large")
		X(500, "Internal Server Error")
		X(501, "Not Implemented")
		X(502, "Bad Gateway")
		X(503, "Service Unavailable")
		X(504, "Gateway Timeout")
		X(505, "HTTP Version Not Supported")
#undef X
	default:
		return "Unknown";
	}
}

void http_put_status(struct http_out *o, int status)
{
	CHECK(status >= 100 && status <= 999);
	http_putf(o, "HTTP/1.1 %d %s\r\n", status, http_reason(status));
}

/* Ends a field's line, whose value begins at `from`. */
static void end_field(struct http_out *o, size_t from)
{
	for (size_t i = from; !o->overflow && i < o->len; i++) {
		if (((unsigned char)o->p[i] < ' ' && o->p[i] != '\t') || o->p[i] == 0x7f)
			o->p[i] = '?';
	}
	http_put(o, "\r\n", 2);
}

/* Returns where the value begins. */
static size_t begin_field(struct http_out *o, const char *name)
{
	put_text(o, name);
	http_put(o, ": ", 2);
	return o->len;
}

void http_put_field_span(struct http_out *o, const char *name, struct http_span value)
{
	size_t from = begin_field(o, name);

	http_put(o, value.p, value.len);
	end_field(o, from);
}

void http_put_field(struct http_out *o, const char *name, const char *value)
{
	http_put_field_span(o, name, (struct http_span){value, strlen(value)});
}

void http_put_fieldf(struct http_out *o, const char *name, const char *fmt, ...)
{
	size_t from = begin_field(o, name);
	va_list ap;

	va_start(ap, fmt);
	put_formatted(o, fmt, ap);
	va_end(ap);
	end_field(o, from);
}

void http_put_date(struct http_out *o, uint64_t wall_ms)
{
	/* Not strftime: that one listens to the locale. */
	static const char day[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
	static const char month[12][4] = {
	    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	time_t s = (time_t)(wall_ms / 1000);
	struct tm tm;

	CHECK(gmtime_r(&s, &tm) != NULL);
	http_putf(o, "Date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n", day[tm.tm_wday], tm.tm_mday,
	    month[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

void http_put_connection(struct http_out *o, bool keep_alive)
{
	http_put_field(o, "Connection", keep_alive ? "keep-alive" : "close");
}

void http_put_length(struct http_out *o, uint64_t bytes)
{
	http_putf(o, "Content-Length: %llu\r\n", (unsigned long long)bytes);
}

void http_put_chunked(struct http_out *o)
{
	http_put_field(o, "Transfer-Encoding", "chunked");
}

void http_put_end(struct http_out *o)
{
	http_put(o, "\r\n", 2);
}

size_t http_chunk_begin(struct http_out *o)
{
	size_t mark = o->len;

	grow(o, HTTP_CHUNK_HEAD);
	return mark;
}

void http_chunk_end(struct http_out *o, size_t mark)
{
	char head[HTTP_CHUNK_HEAD + 1];
	size_t len;

	if (o->overflow)
		return;
	CHECK(mark + HTTP_CHUNK_HEAD <= o->len);
	len = o->len - mark - HTTP_CHUNK_HEAD;
	if (len == 0) {
		o->len = mark;
		return;
	}
	CHECK(len <= UINT32_MAX);
	/* Leading zeros are allowed (RFC 9112 7.1), and let the size be filled in afterwards. */
	snprintf(head, sizeof(head), "%08x\r\n", (unsigned)len);
	memcpy(o->p + mark, head, HTTP_CHUNK_HEAD);
	http_put(o, "\r\n", 2);
}

void http_put_last_chunk(struct http_out *o)
{
	http_put(o, "0\r\n\r\n", 5);
}

bool http_ws_accept(struct http_span key, char out[HTTP_WS_ACCEPT_LEN])
{
	char text[WS_KEY_TEXT + sizeof(WS_GUID) - 1];
	unsigned char raw[WS_KEY_BYTES], digest[EVP_MAX_MD_SIZE];
	const char *end;
	unsigned n = 0;
	size_t len;

	_Static_assert(sodium_base64_ENCODED_LEN(SHA1_BYTES, sodium_base64_VARIANT_ORIGINAL) ==
			   HTTP_WS_ACCEPT_LEN,
	    "the room is right");
	if (key.len != WS_KEY_TEXT)
		return false;
	if (sodium_base642bin(raw, sizeof(raw), key.p, key.len, NULL, &len, &end,
		sodium_base64_VARIANT_ORIGINAL) != 0 ||
	    len != WS_KEY_BYTES || end != key.p + key.len)
		return false;
	memcpy(text, key.p, WS_KEY_TEXT);
	memcpy(text + WS_KEY_TEXT, WS_GUID, sizeof(WS_GUID) - 1);
	/* SHA-1 only proves that we speak WebSocket; a libcrypto that refuses it refuses WebSocket.
	 */
	if (EVP_Digest(text, sizeof(text), digest, &n, EVP_sha1(), NULL) != 1 || n != SHA1_BYTES)
		return false;
	sodium_bin2base64(
	    out, HTTP_WS_ACCEPT_LEN, digest, SHA1_BYTES, sodium_base64_VARIANT_ORIGINAL);
	return true;
}
